"""The page about what was served since a champion answers: one file that needs no other host."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.pages.text import visible


@dataclass(frozen=True)
class SignalShown:
    """A signal in a line."""

    name: str
    meaning: str
    p: float | None
    """That of the newest look, where it has one."""
    capital: float
    """How many times the evidence of the beginning."""
    needed: float
    alarm: date | None
    """The day of its alarm, if it raised one that stands."""


@dataclass(frozen=True)
class MeanShown:
    """A fact on the held-out rows and on those of the newest look."""

    name: str
    held_out: float
    now: float


@dataclass(frozen=True)
class WatchPage:
    """All that the page tells."""

    model: str
    version: int
    until: date
    looks: int
    rows: int
    labelled: int
    signals: Sequence[SignalShown]
    means: Sequence[MeanShown]
    promised: float
    score: str | None
    """The true score with its bounds, in words."""
    estimated: str | None
    """The one without labels with its error, in words."""
    pictures: Sequence[tuple[str, bytes]]
    """Each with its title."""
    alarm_chance: float
    note: str
    """Why the held-out rows are not those that the version was judged on, if they are not."""

    @property
    def alarms(self) -> list[SignalShown]:
        return [signal for signal in self.signals if signal.alarm]


def render(page: WatchPage) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"visible": visible, "base64": lambda content: base64.b64encode(content).decode()}
    return environment.get_template("watching.html").render(page=page)
