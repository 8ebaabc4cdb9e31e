"""Values of others inside a sentence of ours."""

import unicodedata
from collections.abc import Callable, Iterable

# As much of the error of another library as fits into a sentence of ours.
ERROR_CHARACTERS = 200
SHOWN_CHARACTERS = 80
# Of 0 to 1: above it lie "epoch" and "epochs", below it "epoch" and "depth".
ALIKE = 0.7


def shortened(text: str, characters: int) -> str:
    """The text, or the beginning of a longer one and "…": in all no more than so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def shown(value: object, most_characters: int = SHOWN_CHARACTERS) -> str:
    """A value in one short line that no terminal, table or page reads as a command."""
    # A text is escaped by that already; what others say of themselves may have lines and colours.
    said = "".join(mark if mark.isprintable() else " " for mark in ascii(value))
    return shortened(" ".join(said.split()) if not isinstance(value, str) else said, most_characters)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Of the known words the one that was probably meant, if any is much like it."""
    from difflib import get_close_matches  # only needed once something is wrong

    folded = {_folded(name): name for name in known}
    found = get_close_matches(_folded(word), folded, n=1, cutoff=ALIKE)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], spelt: Callable[[str], str] = str) -> str:
    """The question after a sentence about an unknown word, or nothing; `spelt` as `shown` where data name them."""
    meant = nearest(word, known)
    return f"; did you mean {spelt(meant)}?" if meant else ""


def _folded(word: str) -> str:
    """Without what is easily mistaken: case, width, white space at the ends, which of the two strokes."""
    return unicodedata.normalize("NFKC", word).casefold().strip().replace("-", "_")
