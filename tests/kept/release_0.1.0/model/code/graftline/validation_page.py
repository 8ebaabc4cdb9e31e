"""The validation page: one file that needs no other host and in which every value stays text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.expectations import Check
from graftline.rows import printable

SHOWN_ROWS = 200
SHOWN_VALUE_CHARACTERS = 300


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that may not be learned from, why, and what it held."""

    line: int
    row_id: str | None
    reasons: tuple[str, ...]
    values: Mapping[str, str | None]


@dataclass(frozen=True)
class ValidationPage:
    """What the page tells."""

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


def render(page: ValidationPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline"), autoescape=True, undefined=StrictUndefined)
    environment.filters["visible"] = visible
    return environment.get_template("validation.html").render(
        page=page, shown_rows=page.rows[:SHOWN_ROWS], hidden_rows=max(0, len(page.rows) - SHOWN_ROWS)
    )


def visible(value: object) -> str:
    """A value as it may stand on a page: cut when long, and with nothing in it that turns the line around."""
    text = printable("" if value is None else str(value))
    return spelt_out(text if len(text) <= SHOWN_VALUE_CHARACTERS else text[: SHOWN_VALUE_CHARACTERS - 1] + "…")


def spelt_out(text: str) -> str:
    """A text whole, with what cannot be seen, or turns the line around, as its number."""
    return "".join(mark if mark.isprintable() or mark == "\n" else f"\\u{ord(mark):04x}" for mark in text)
