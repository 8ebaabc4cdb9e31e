"""The page about how far rows lie from others: one file that needs no other host."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.pages.text import visible


@dataclass(frozen=True)
class PairShown:
    """Two sets of rows in a line."""

    about: str
    source: str
    target: str
    rows: tuple[int, int]
    """Of the source and of the target, that were compared."""
    told_apart: float
    """The share of the rows that a classifier assigns rightly."""
    measures: Sequence[tuple[float, float, float, float]]
    """Of each: value, the ends of the band of two parts of one set, p."""
    differ: bool
    advice: str


@dataclass(frozen=True)
class DistancePage:
    """All that the page tells."""

    data_version: str
    base_model: str
    measures: Sequence[str]
    """Their names, in the order of those of a pair."""
    pairs: Sequence[PairShown]
    too_few: Sequence[str]
    """Pairs that were not compared, each with why."""
    picture: bytes | None


def render(page: DistancePage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"visible": visible, "base64": lambda content: base64.b64encode(content).decode()}
    return environment.get_template("distance.html").render(page=page)
