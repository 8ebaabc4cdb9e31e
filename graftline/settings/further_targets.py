"""The targets beside the first one, as the settings name them: a line for each."""

import re
from dataclasses import dataclass
from typing import Literal, cast

# The kind of answer that is learned.
Task = Literal["single_label", "multi_label", "regression"]

LINE = re.compile(
    r"\s*(?P<name>\S.*?)\s*:\s*(?P<task>single_label|multi_label|regression)\s*(:\s*(?P<labels>\S.*?)\s*)?"
)
BETWEEN_LABELS = "|"


@dataclass(frozen=True)
class FurtherTarget:
    """A column that is learned beside the first target."""

    name: str
    task: Task
    labels: tuple[str, ...]
    """Those that may occur; none: every label that the data hold."""


def further_target_of(line: str) -> FurtherTarget:
    """The target of `rating: regression` or `section: single_label: net|web`. Raises: ValueError for anything else."""
    match = LINE.fullmatch(line)
    labels = [label.strip() for label in match["labels"].split(BETWEEN_LABELS)] if match and match["labels"] else []
    if match is None or not all(labels):
        raise ValueError(
            f"{line!r} names no column and its task, expected something like rating: regression, or with the labels"
            " that may occur section: single_label: net|web"
        )
    return FurtherTarget(match["name"], cast("Task", match["task"]), tuple(labels))
