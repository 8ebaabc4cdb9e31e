"""The page about a search: one file that needs no other host."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.pages.text import visible


@dataclass(frozen=True)
class TrialShown:
    """A trial in a line."""

    number: int
    tried: str
    """What it changed."""
    state: str
    score: float | None
    """None of one that failed before its first epoch."""
    epochs: int
    seconds: float
    why: str
    best: bool


@dataclass(frozen=True)
class SearchPage:
    """All that the page tells."""

    data_version: str
    rows: Mapping[str, int]
    score: str
    found: str
    """What came of it, in a sentence."""
    caution: str
    """How far to believe it."""
    lines: str
    """What to write into the settings file; empty where nothing is to be changed."""
    trials: Sequence[TrialShown]
    """The best first, and no more than a page can show."""
    count: int
    """Of all trials."""
    importances: Mapping[str, float]
    scores_picture: bytes
    importances_picture: bytes | None


def render(page: SearchPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"visible": visible, "base64": lambda content: base64.b64encode(content).decode()}
    return environment.get_template("search.html").render(page=page)
