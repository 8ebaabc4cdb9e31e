"""The page about a ranking of base models: one file that needs no other host."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.pages.text import visible


@dataclass(frozen=True)
class DepthShown:
    """A depth of a base model in a line."""

    name: str
    head: tuple[float, float, float]
    """The score of the solved head, and the ends of its interval."""
    others: Sequence[float | None]
    """The other scores, in the order of the page's."""


@dataclass(frozen=True)
class BaseShown:
    """A base model."""

    uri: str
    licence: str
    megabytes: float
    parameters: int
    rows_per_second: float
    depths: Sequence[DepthShown]
    """The head's first."""
    trained: Sequence[tuple[str, float]]
    """Finished fine-tunings: strategy and score."""
    advised: bool


@dataclass(frozen=True)
class AgreementShown:
    """How well a score ordered what fine-tunings came to."""

    score: str
    tau: tuple[float, float, float] | None
    means_something: bool


@dataclass(frozen=True)
class BlockShown:
    """A block of the advised base model in a line."""

    name: str
    gradient: tuple[float, float, float]
    """Its relative gradient norm, and the extremes over batches."""
    tuned: bool
    """Whether it lies behind the advised freeze point."""
    came: float | None
    """What a fine-tuning came to that tuned it and all behind it."""


@dataclass(frozen=True)
class TuningShown:
    """From which block on to tune the advised base model."""

    advice: str
    blocks: Sequence[BlockShown]
    """In the order in which they run; none where that could not be asked."""
    head: float
    """The score of the solved head, with no block tuned."""
    checked: str
    """What fine-tunings say of that advice."""
    picture: bytes | None


@dataclass(frozen=True)
class RankingPage:
    """All that the page tells."""

    data_version: str
    rows: Mapping[str, int]
    score: str
    advice: str
    other_scores: Sequence[str]
    not_asked: Sequence[tuple[str, str]]
    """Scores that the task has not, each with why."""
    bases: Sequence[BaseShown]
    agreements: Sequence[AgreementShown]
    checked: str
    """On what the check of the scores stands, in words."""
    picture: bytes
    tuning: TuningShown


def render(page: RankingPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"visible": visible, "base64": lambda content: base64.b64encode(content).decode()}
    return environment.get_template("ranking.html").render(page=page)
