"""Outputs of a model, as its folder describes them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from graftline.settings import Task

# Between a target's name and the name of a column of its answers, in which this does not occur.
TARGET_AND_COLUMN = "."


# The fields that say which answers are given from probabilities.
RULES = ("thresholds", "costs")


@dataclass(frozen=True)
class Outputs:
    """The meaning of a model's outputs for a row; written down beside the model, which would be mute without it."""

    task: Task
    labels: tuple[str, ...] = ()
    """Those that it chooses from, in the order of its outputs; none where it gives a number."""
    mean: float = 0.0
    """Of the training rows' numbers: a model learns them standardised, which suits its random head."""
    spread: float = 1.0
    """Standard deviation of the training rows' numbers."""
    temperature: float = 1.0
    """Divides the outputs in front of the probabilities, so that these are as often right as they say."""
    thresholds: tuple[float, ...] = ()
    """Of each label the probability from which on it is given; where a row has one label, that for which its
    probability is the largest multiple of its threshold. None: 0.5, or the likeliest label."""
    costs: tuple[tuple[float, ...], ...] = ()
    """Of each truth what each answer costs (labels, labels), where the label of the least expected cost is given."""
    further: "tuple[FurtherOutputs, ...]" = ()
    """Those of more targets, which stand behind these."""

    @property
    def width(self) -> int:
        """How many outputs there are for each row."""
        return (len(self.labels) or 1) + sum(one.outputs.width for one in self.further)

    @property
    def has_rule(self) -> bool:
        """Whether the first target's answers are others than the usual ones: the probabilities say nothing of it."""
        return bool(self.thresholds or self.costs)

    @property
    def alone(self) -> "Outputs":
        """Those of the first target."""
        return replace(self, further=())

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `outputs_of` reads them. What only models of several targets or with a rule have is not
        there else."""
        plain = {name: value for name, value in asdict(self.alone).items() if name != "further"}
        plain = {name: value for name, value in plain.items() if value or name not in RULES}
        if not self.further:
            return plain
        further = [{"name": one.name, "outputs": {**one.outputs.as_json(), "further": ()}} for one in self.further]
        return {**plain, "further": further}


@dataclass(frozen=True)
class FurtherOutputs:
    """The outputs of a target beside the first one."""

    name: str
    outputs: Outputs


def outputs_of(plain: Mapping[str, Any]) -> Outputs:
    """Outputs from plain values."""
    further = tuple(FurtherOutputs(one["name"], outputs_of(one["outputs"])) for one in plain.get("further", ()))
    rule = {
        "thresholds": tuple(plain.get("thresholds", ())),
        "costs": tuple(tuple(row) for row in plain.get("costs", ())),
    }
    return Outputs(**{**plain, **rule, "labels": tuple(plain["labels"]), "further": further})


@dataclass(frozen=True)
class Part:
    """The place of one target among the outputs of a model."""

    name: str | None
    """None: the first target."""
    outputs: Outputs
    columns: slice


def parts_of(outputs: Outputs) -> list[Part]:
    """The targets of these outputs, the first one first."""
    named = [(None, outputs.alone), *((one.name, one.outputs) for one in outputs.further)]
    parts, start = list[Part](), 0
    for name, own in named:
        parts.append(Part(name, own, slice(start, start + own.width)))
        start += own.width
    return parts


def column_of(target: str | None, column: str) -> str:
    """The name of a column of what a registered model answers; those of the first target, None, go without its name."""
    return column if target is None else f"{target}{TARGET_AND_COLUMN}{column}"


def by_target(row: Mapping[str, Any]) -> dict[str | None, dict[str, Any]]:
    """The columns of one answer by the targets that they are of, None for the first one."""
    found: dict[str | None, dict[str, Any]] = {}
    for name, value in row.items():
        target, between, column = name.rpartition(TARGET_AND_COLUMN)
        found.setdefault(target if between else None, {})[column] = value
    return found
