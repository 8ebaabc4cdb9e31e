"""What a candidate gained on each held-out row, in a form that fits into a record, and how alike two of them are."""

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from graftline.evaluation.metrics import Floats

# Of more rows those whose names have the smallest digests: of two tables the same rows are kept.
MOST_ROWS = 2048
# Gains are kept as whole numbers of so many steps of the largest one.
STEPS = 127

Names = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class RowGains:
    """The gains on some rows, in the order of their names."""

    rows: int
    """How many rows there are; of more than `MOST_ROWS` a part is kept."""
    names: Names
    """The first bytes of the digests of the rows' names: (kept rows,), rising."""
    gains: NDArray[np.int8]
    """(kept rows,), in steps of the largest."""

    @property
    def discordant(self) -> bool:
        """Whether the two models differ on any row."""
        return bool(self.gains.any())

    @property
    def discordance(self) -> float | None:
        """The share of rows on which one model is right and the other wrong; none where rows are not right or wrong."""
        sizes = np.abs(self.gains.astype(np.int16))
        return float((sizes > 0).mean()) if np.isin(sizes, (0, STEPS)).all() and len(sizes) else None

    @property
    def names_text(self) -> str:
        """The names, as a record holds them."""
        return _packed(self.names.astype("<u4").tobytes())

    @property
    def gains_text(self) -> str:
        """The gains, as a record holds them."""
        return _packed(self.gains.tobytes())

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values, as `row_gains_of` reads them."""
        return {"rows": self.rows, "names": self.names_text, "gains": self.gains_text}


def row_gains(names: Sequence[str], gains: Floats) -> RowGains:
    """Of rows with these names; gains (rows,) are differences of quality."""
    digests = _digests(names)
    kept = np.argsort(digests, kind="stable")[:MOST_ROWS]
    largest = float(np.abs(gains).max(initial=0.0)) or 1.0
    steps = np.rint(gains[kept] / largest * STEPS).astype(np.int8)
    return RowGains(len(names), digests[kept].astype(np.uint32), steps)


def row_gains_of(plain: JsonValue) -> RowGains:
    """From plain values. Raises: ValueError if they are none."""
    kept = _PLAIN.validate_python(plain)
    return unpacked_gains(kept.rows, kept.names, kept.gains)


def unpacked_gains(rows: int, names: str, gains: str) -> RowGains:
    """From the texts of a record. Raises: ValueError if they are none."""
    try:
        parts = np.frombuffer(_unpacked(names), "<u4"), np.frombuffer(_unpacked(gains), np.int8)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"the rows' gains cannot be read ({error})") from None
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"holds the names of {len(parts[0])} rows and the gains of {len(parts[1])}")
    return RowGains(rows, parts[0].astype(np.uint32), parts[1])


@dataclass(frozen=True)
class _Plain:
    rows: int
    names: str
    gains: str


_PLAIN = TypeAdapter(_Plain)


def seen_share(before: RowGains, now: RowGains) -> float:
    """Which share of the rows of `now` was among those of `before`."""
    last = min(_reach(before), _reach(now))
    some = now.names[now.names <= last]
    return float(np.isin(some, before.names).mean()) if len(some) else 0.0


def not_among(before: RowGains, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows with these names surely were none of those of `before`: (rows,)."""
    digests = _digests(names)
    return np.asarray((digests <= _reach(before)) & ~np.isin(digests, before.names))


def correlations(looks: Sequence[RowGains]) -> Floats:
    """How alike the gains are, as correlations of their sums if no gain is more than chance: (looks, looks).

    Rows that only one of two looks saw are independent of all of the other's.
    """
    names = np.unique(np.concatenate([look.names for look in looks]))
    table = np.zeros((len(looks), len(names)))
    for row, look in zip(table, looks, strict=True):
        row[np.searchsorted(names, look.names)] = look.gains
    lengths = np.sqrt((table**2).sum(axis=1, keepdims=True))
    table /= np.where(lengths > 0, lengths, 1.0)
    return np.asarray(table @ table.T)


def _digests(names: Sequence[str]) -> NDArray[np.int64]:
    """The first bytes of the names' digests: (rows,)."""
    return np.array(
        [int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") for name in names], dtype=np.int64
    )


def _reach(look: RowGains) -> float:
    """Up to which digest all rows are kept."""
    return float(look.names[-1]) if len(look.names) < look.rows else float("inf")


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))
