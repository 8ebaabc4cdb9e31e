"""Values of others inside a sentence of ours."""

from collections.abc import Iterable

# As much of the error of another library as fits into a sentence of ours.
ERROR_CHARACTERS = 200
# Of 0 to 1: above it lie "epoch" and "epochs", below it "epoch" and "depth".
ALIKE = 0.7


def shortened(text: str, characters: int) -> str:
    """The text, or the beginning of a longer one and "…": in all no more than so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Of the known words the one that was probably meant, if any is much like it."""
    from difflib import get_close_matches  # only needed once something is wrong

    folded = {name.lower().replace("-", "_"): name for name in known}
    found = get_close_matches(word.lower().replace("-", "_"), folded, n=1, cutoff=ALIKE)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question after a sentence about an unknown word, or nothing."""
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else ""
