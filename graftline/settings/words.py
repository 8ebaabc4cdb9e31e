"""Words that are put in the place of others, as the settings name them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# "gender: he|she, his|her" and "great > awful: positive"; the label may hold anything.
SWAP = re.compile(r"\s*(?P<name>[^:|,]+?)\s*:\s*(?P<pairs>[^:]+)")
DIRECTION = re.compile(r"\s*(?P<more>[^>:\s][^>:]*?)\s*>\s*(?P<less>[^>:\s][^>:]*?)\s*(:\s*(?P<label>.+?)\s*)?")


@dataclass(frozen=True)
class Swap:
    """Pairs of words of which each may stand where the other stands."""

    name: str
    partners: Mapping[str, str]
    """Of each word in lower case, both ways."""


@dataclass(frozen=True)
class Direction:
    """Two words, of which the first makes a label more likely, or a number larger."""

    more: str
    less: str
    label: str | None


def swap_of(text: str) -> Swap:
    """The pairs of `gender: he|she, his|her`. Raises: ValueError for anything else."""
    match = SWAP.fullmatch(text)
    pairs = [[word.strip().lower() for word in pair.split("|")] for pair in match["pairs"].split(",")] if match else []
    if match is None or any(len(pair) != 2 or not all(pair) or pair[0] == pair[1] for pair in pairs):
        raise ValueError(f"{text!r} names no pairs of words, expected something like gender: he|she, his|her")
    words = [word for pair in pairs for word in pair]
    if doubled := sorted({word for word in words if words.count(word) > 1}):
        raise ValueError(f"{text!r}: {doubled[0]!r} stands in two pairs, so it is open what takes its place; drop one")
    return Swap(match["name"], {one: other for a, b in pairs for one, other in ((a, b), (b, a))})


def direction_of(text: str) -> Direction:
    """The words of `great > awful: positive`. Raises: ValueError for anything else."""
    match = DIRECTION.fullmatch(text)
    if match is None or match["more"].lower() == match["less"].lower():
        raise ValueError(f"{text!r} names no direction, expected something like great > awful: positive")
    return Direction(match["more"], match["less"], match["label"])


def with_partners(text: str, partners: Mapping[str, str]) -> str:
    """The text with each whole word that has a partner exchanged for it, in capitals where it was."""
    if not partners:
        return text
    longest_first = sorted(partners, key=lambda word: (-len(word), word))
    words = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    return words.sub(lambda match: _in_case_of(match[0], partners[match[0].lower()]), text)


def _in_case_of(word: str, other: str) -> str:
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
