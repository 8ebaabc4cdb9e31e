"""Labels that are one to a reader: equal as numbers, or apart from case, blanks, Unicode form or look-alike letters."""

import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

from graftline.data.row_names import normalised
from graftline.data.tables import NUMBER

# Letters of Greek, Cyrillic and phonetic script, and marks, that most fonts draw as these.
LOOK_ALIKES = {
    "A": "\u0391\u0410", "B": "\u0392\u0412", "C": "\u03f9\u0421", "E": "\u0395\u0415", "H": "\u0397\u041d",
    "I": "\u0399\u0406\u04c0", "J": "\u037f\u0408", "K": "\u039a\u041a", "M": "\u039c\u041c", "N": "\u039d",
    "O": "\u039f\u041e", "P": "\u03a1\u0420", "S": "\u0405", "T": "\u03a4\u0422", "X": "\u03a7\u0425",
    "Y": "\u03a5\u04ae\u0423", "Z": "\u0396", "a": "\u03b1\u0430\u0251", "c": "\u03f2\u0441", "d": "\u0501",
    "e": "\u0435", "g": "\u0261", "h": "\u04bb", "i": "\u03b9\u0456\u0131", "j": "\u03f3\u0458", "o": "\u03bf\u043e",
    "p": "\u03c1\u0440", "q": "\u051b", "s": "\u0455", "u": "\u03c5", "v": "\u03bd\u0475", "w": "\u051d",
    "x": "\u03c7\u0445", "y": "\u0443\u03b3", "-": "\u2010\u2012\u2013\u2014\u2212", "'": "\u2018\u2019\u02bc`",
}  # fmt: skip
_AS_LATIN = {ord(mark): latin for latin, marks in LOOK_ALIKES.items() for mark in marks}
# A capital I and a small L are one stroke; only as they stand, because folded they are two letters.
_STROKES = str.maketrans("I|", "ll")


def other_spellings(rows: Mapping[str, int]) -> dict[str, str]:
    """Each label that is another spelling of a more frequent one, with that one; of equally frequent ones the shortest.

    `rows` counts each label's rows.
    """
    first: dict[object, str] = {}
    meant: dict[str, str] = {}
    for label in sorted(rows, key=lambda label: (-rows[label], len(label), label)):
        keys = list(_keys(label))
        one = next((first[key] for key in keys if key in first), label)
        if one != label:
            meant[label] = one
        for key in keys:
            first.setdefault(key, one)
    return meant


def _keys(label: str) -> Iterator[object]:
    """What is equal for two labels that are one."""
    folded = _without_blanks(normalised(label))
    composed = _without_blanks(unicodedata.normalize("NFKC", label))
    yield folded
    yield folded.translate(_AS_LATIN)
    yield composed.translate(_AS_LATIN).casefold()
    yield "as it stands", composed.translate(_AS_LATIN).translate(_STROKES)
    if NUMBER.fullmatch(folded):
        try:
            yield Decimal(folded)
        except InvalidOperation:  # an exponent beyond all measure
            return


def _without_blanks(text: str) -> str:
    return "".join(text.split())
