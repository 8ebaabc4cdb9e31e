"""Texts with words swapped, to be learned from beside those that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from graftline.data.near_duplicates import straddling
from graftline.data.row_names import normalised
from graftline.data.splitting import Split
from graftline.settings.words import Swap, with_partners


@dataclass(frozen=True)
class SwappedTexts:
    """The texts to add, and why others are not."""

    texts: tuple[str, ...]
    places: tuple[int, ...]
    """Of the texts that they come from."""
    holding: int
    """Texts that hold such words, counted once for each swap."""
    there: int
    """Of those: whose counterpart is among the texts already."""
    twins: int
    """Whose counterpart nearly is a held-out text."""


def swapped_texts(
    texts: Sequence[str], held_out: Sequence[str], swaps: Sequence[Swap], *, similarity: float
) -> SwappedTexts:
    """The counterparts of `texts`, one for each swap that changes a text; none that nearly is a held-out one.

    By the rule that keeps such texts on one side of the split (`near_duplicates.straddling`).
    """
    known = set(map(normalised, texts))
    found: dict[str, tuple[int, str]] = {}
    holding = there = 0
    for swap in swaps:
        for place, text in enumerate(texts):
            other = with_partners(text, swap.partners)
            if other == text:
                continue
            holding += 1
            if normalised(other) in known:
                there += 1
            else:
                found.setdefault(normalised(other), (place, other))
    twins = _twins(list(found), held_out, similarity)
    kept = [row for at, row in enumerate(found.values()) if at not in twins]
    return SwappedTexts(
        tuple(text for _, text in kept), tuple(place for place, _ in kept), holding, there, len(twins)
    )  # fmt: skip


def _twins(contents: Sequence[str], held_out: Sequence[str], similarity: float) -> set[int]:
    # As if the held-out texts were learned from: then the others are their twins.
    sides = [*list[Split](["train"]) * len(held_out), *list[Split](["test"]) * len(contents)]
    found = straddling([*map(normalised, held_out), *contents], sides, similarity=similarity)
    return {at - len(held_out) for at in found}
