"""The validation page: one file that needs no other host and in which every value stays text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.data.expectation import Check
from graftline.data.splitting import BY_HASH
from graftline.data.twins import TwinRow
from graftline.pages.text import visible

SHOWN_ROWS = 200


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that may not be learned from, why, and what it held."""

    line: int
    row_id: str | None
    reasons: tuple[str, ...]
    values: Mapping[str, str | None]


@dataclass(frozen=True)
class ValidationPage:
    """All that the page tells."""

    verdict: Literal["accepted", "refused"]
    table: str
    version: str
    modified: bool
    read: int
    accepted: int
    quarantined: int
    checks: Sequence[Check]
    classes: Sequence[Mapping[str, str | int | float | None]]
    rows: Sequence[QuarantinedRow]
    rows_file: str
    sample_bits: int = 16
    """How many bits a picture of 16 bits a sample uses, if it does not say so itself."""
    split_from: str = BY_HASH
    """Or the names of the folders that are the split."""
    twins: Sequence[TwinRow] = ()
    twins_file: str = ""


def render(page: ValidationPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    meanings = {check.expectation.name: check.expectation.meaning for check in page.checks}
    environment.filters |= {"visible": visible, "in_words": lambda reason: _in_words(reason, meanings)}
    return environment.get_template("validation.html").render(
        page=page,
        shown_rows=page.rows[:SHOWN_ROWS],
        hidden_rows=max(0, len(page.rows) - SHOWN_ROWS),
        shown_twins=page.twins[:SHOWN_ROWS],
        other_targets=sum(twin.has_other_target for twin in page.twins),
    )


def _in_words(reason: object, meanings: Mapping[str, str]) -> tuple[str, str | None]:
    """A row's reason as the value that was found, and what was expected of it in place of the expectation's name."""
    name, _, said = str(reason).partition(": ")
    return (said, meanings[name]) if name in meanings else (str(reason), None)
