"""A target beside its source: how far apart they are, in numbers and in a sentence of advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from graftline.transfer.distances import Distances

About = Literal["source task", "target domain", "data version", "slice", "served rows"]
# What to do where a target is not told apart from its source, and where it is.
_TO_DO: Mapping[About, tuple[str, str]] = {
    "source task": (
        "what the base model was made for looks like these rows to it",
        "the base model was made for other inputs than these: let the verdict show that it beats frozen_head and"
        " scratch, which policies name as baselines",
    ),
    "target domain": (
        "held-out scores speak for it as far as inputs do",
        "held-out scores need not hold there: label some of its rows and score them, or adapt to it",
    ),
    "data version": (
        "scores on the one speak for the other as far as inputs do",
        "scores on the one need not hold on the other: train and judge on the version that is like what will be asked",
    ),
    "slice": (
        "overall scores speak for it as far as inputs do",
        "read its own scores in the report before you rely on the overall ones",
    ),
    "served rows": (
        "held-out scores speak for them as far as inputs do",
        "held-out scores need not hold for them: have some labelled (`graftline feedback`) and train on them",
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two sets of rows and the distances between them."""

    about: About
    source: str
    target: str
    """In words, both."""
    distances: Distances

    @property
    def advice(self) -> str:
        """What was seen, and what to do."""
        found, (alike, other) = self.distances, _TO_DO[self.about]
        share = f"a linear classifier assigns {found.told_apart:.0%} of the rows to the right side, of 50 % by guessing"
        if found.differ:
            return f"{self.target}: differs from {self.source} ({share}); {other}"
        return f"{self.target}: not told apart from {self.source} ({share}); {alike}"


_ADAPTER = TypeAdapter(tuple[Pair, ...])


def as_json(pairs: Sequence[Pair]) -> JsonValue:
    """Plain values, as `pairs_of` reads them."""
    plain: JsonValue = _ADAPTER.dump_python(tuple(pairs), mode="json")
    return plain


def pairs_of(plain: JsonValue) -> tuple[Pair, ...]:
    """Pairs from plain values."""
    return _ADAPTER.validate_python(plain)
