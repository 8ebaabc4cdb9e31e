"""What a candidate gained on each held-out row, in a form that fits into a record, and how alike two of them are."""

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from graftline.evaluation.groups import Likeness, group_sums
from graftline.evaluation.metrics import Floats, Integers

# Of more rows those whose names have the smallest digests: of two tables the same rows are kept.
MOST_ROWS = 2048
# Gains are kept as whole numbers of so many steps of the largest one: exact where rows are right or wrong. Of groups'
# sums those below half a step are lost, which changes no correlation by more than some hundredths.
STEPS = 127
# Added to them, the names of groups are those of no rows.
NAMES = 2**32

Names = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class GroupGains:
    """The sums of the gains of whole groups, in the order of the groups' names."""

    groups: int
    """How many groups there are; of more than `MOST_ROWS` a part is kept."""
    names: Names
    """The first bytes of the digests of the groups' names: (kept groups,), rising."""
    gains: NDArray[np.int8]
    """(kept groups,), in steps of the largest."""
    design_effect: float
    """How many times the variance of the mean gain is that of as many independent rows."""

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values."""
        return {
            "groups": self.groups,
            "names": packed_names(self.names),
            "gains": packed_gains(self.gains),
            "design_effect": self.design_effect,
        }


@dataclass(frozen=True, eq=False)
class RowGains:
    """The gains on some rows, in the order of their names."""

    rows: int
    """How many rows there are; of more than `MOST_ROWS` a part is kept."""
    names: Names
    """The first bytes of the digests of the rows' names: (kept rows,), rising."""
    gains: NDArray[np.int8]
    """(kept rows,), in steps of the largest."""
    of_groups: GroupGains | None = None
    """The same of whole groups, where rows of one group are not independent."""

    @property
    def discordant(self) -> bool:
        """Whether the two models differ on any row."""
        return bool(self.gains.any()) or (self.of_groups is not None and bool(self.of_groups.gains.any()))

    @property
    def discordance(self) -> float | None:
        """The share of rows on which one model is right and the other wrong; none where rows are not right or wrong."""
        sizes = np.abs(self.gains.astype(np.int16))
        return float((sizes > 0).mean()) if np.isin(sizes, (0, STEPS)).all() and len(sizes) else None

    @property
    def names_text(self) -> str:
        """The names, as a record holds them."""
        return packed_names(self.names)

    @property
    def gains_text(self) -> str:
        """The gains, as a record holds them."""
        return packed_gains(self.gains)

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values, as `row_gains_of` reads them."""
        plain: dict[str, JsonValue] = {"rows": self.rows, "names": self.names_text, "gains": self.gains_text}
        return plain if self.of_groups is None else {**plain, "of_groups": self.of_groups.as_json()}


def row_gains(names: Sequence[str], gains: Floats, groups: Sequence[str] | None = None) -> RowGains:
    """Of rows with these names; gains (rows,) are differences of quality, `groups` the names of the rows' groups."""
    kept = _kept(names, gains)
    if groups is None:
        return RowGains(len(names), *kept)
    of_groups, places = np.unique(groups, return_inverse=True)
    sums = group_sums(gains, places)
    effect = Likeness.of(gains, places).effect
    return RowGains(len(names), *kept, GroupGains(len(of_groups), *_kept(of_groups.tolist(), sums), effect))


def _kept(names: Sequence[str], gains: Floats) -> tuple[Names, NDArray[np.int8]]:
    """The names and gains that a record holds, of rows or of groups."""
    digests = _digests(names)
    kept = np.argsort(digests, kind="stable")[:MOST_ROWS]
    largest = float(np.abs(gains).max(initial=0.0)) or 1.0
    return digests[kept].astype(np.uint32), np.rint(gains[kept] / largest * STEPS).astype(np.int8)


def row_gains_of(plain: JsonValue) -> RowGains:
    """From plain values. Raises: ValueError if they are none."""
    kept = _PLAIN.validate_python(plain)
    found = unpacked_gains(kept.rows, kept.names, kept.gains)
    if (of := kept.of_groups) is None:
        return found
    return replace(found, of_groups=unpacked_groups(of.groups, of.names, of.gains, of.design_effect))


def unpacked_groups(groups: int, names: str, gains: str, design_effect: float) -> GroupGains:
    """From the texts of a record. Raises: ValueError if they are none."""
    kept = unpacked_gains(groups, names, gains)
    return GroupGains(groups, kept.names, kept.gains, design_effect)


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
class _PlainGroups:
    groups: int
    names: str
    gains: str
    design_effect: float


@dataclass(frozen=True)
class _Plain:
    rows: int
    names: str
    gains: str
    of_groups: _PlainGroups | None = None


_PLAIN = TypeAdapter(_Plain)


def seen_share(before: RowGains, now: RowGains) -> float:
    """Which share of the rows of `now` was among those of `before`.

    New rows of a group that was seen are no fresh evidence, and an old row is none in whatever group.
    """
    share = _seen(before, now)
    if before.of_groups is None or now.of_groups is None:
        return share
    return max(share, _seen(before.of_groups, now.of_groups))


def _seen(before: RowGains | GroupGains, now: RowGains | GroupGains) -> float:
    last = min(_reach(before), _reach(now))
    some = now.names[now.names <= last]
    return float(np.isin(some, before.names).mean()) if len(some) else 0.0


def not_among(before: RowGains, names: Sequence[str], groups: Sequence[str] | None = None) -> NDArray[np.bool_]:
    """Which rows with these names surely were none of those of `before`, and are of no group of it: (rows,)."""
    new = _new(before, names)
    return new if groups is None or before.of_groups is None else new & _new(before.of_groups, groups)


def _new(before: RowGains | GroupGains, names: Sequence[str]) -> NDArray[np.bool_]:
    digests = _digests(names)
    return np.asarray((digests <= _reach(before)) & ~np.isin(digests, before.names))


def correlations(looks: Sequence[RowGains]) -> Floats:
    """How alike the gains are, as correlations of their sums if no gain is more than chance: (looks, looks).

    Rows that only one of two looks saw are independent of all of the other's; of grouped rows, groups. A look at
    groups counts as independent of one at rows, which errs on the safe side.
    """
    units = [_units(look) for look in looks]
    names = np.unique(np.concatenate([each for each, _ in units]))
    table = np.zeros((len(looks), len(names)))
    for row, (each, gained) in zip(table, units, strict=True):
        row[np.searchsorted(names, each)] = gained
    lengths = np.sqrt((table**2).sum(axis=1, keepdims=True))
    table /= np.where(lengths > 0, lengths, 1.0)
    return np.asarray(table @ table.T)


def _digests(names: Sequence[str]) -> NDArray[np.int64]:
    """The first bytes of the names' digests: (rows,)."""
    return np.array(
        [int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") for name in names], dtype=np.int64
    )


def _units(look: RowGains) -> tuple[Integers, NDArray[np.int8]]:
    """The names and gains of what is independent of each other: groups, where there are some."""
    if look.of_groups is None:
        return look.names.astype(np.int64), look.gains
    return NAMES + look.of_groups.names.astype(np.int64), look.of_groups.gains


def _reach(look: RowGains | GroupGains) -> float:
    """Up to which digest all rows, or groups, are kept."""
    there = look.rows if isinstance(look, RowGains) else look.groups
    return float(look.names[-1]) if len(look.names) < there else float("inf")


def packed_names(names: Names) -> str:
    """Names as a text."""
    return _packed(names.astype("<u4").tobytes())


def packed_gains(gains: NDArray[np.int8]) -> str:
    """Gains as a text."""
    return _packed(gains.tobytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))
