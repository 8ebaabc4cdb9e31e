"""The page about labels that look wrong: one file that needs no other host and in which every value stays text."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.pages.text import visible


@dataclass(frozen=True)
class DoubtShown:
    """A row whose label looks wrong."""

    row: str
    line: int
    side: str
    holds: str
    """The text, or the name of the file."""
    address: str | None
    """The image or sound as a data address."""
    missing: str | None
    """Why there is none."""
    given: str
    given_probability: float
    likely: str
    likely_probability: float


@dataclass(frozen=True)
class LabelsPage:
    """All that the page tells."""

    version: str
    rows: int
    doubts: int
    """Of which as many are shown as there is room for."""
    standing: int
    """Doubts that a person has looked at, and let the label stand."""
    not_judged: int
    held_out: int
    held_out_doubts: int
    estimate: str
    """What that says of the held-out labels and of the ceiling, in sentences."""
    recall: str
    """How many labels that were changed on purpose were found, in a sentence."""
    shown: Sequence[DoubtShown]
    kind: str


def render(page: LabelsPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters["visible"] = visible
    return environment.get_template("labels.html").render(page=page)
