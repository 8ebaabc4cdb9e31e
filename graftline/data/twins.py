"""The twins of a table: accepted held-out rows that nearly are a row that a model learns from, whatever their kind."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftline.data.columns import BATCH_ROWS, Fact
from graftline.data.near_duplicates import Twin, straddling, straddling_equals, straddling_hashes
from graftline.data.row_facts import RowFacts
from graftline.data.split_column import SplitColumn
from graftline.data.splitting import SPLITS, TWIN, Side, Split
from graftline.settings import DataSettings
from graftline.settings.data import Kind

SHARED: Mapping[Kind, str] = {"text": "pieces of five characters", "image": "hash bits", "audio": "samples"}


@dataclass(frozen=True)
class TwinRow:
    """A held-out row that is not scored, and why."""

    line: int
    row_id: str | None
    split: Split
    target: str
    twin_line: int
    twin_id: str | None
    twin_split: Split
    twin_target: str
    similarity: float
    input: str
    twin_input: str
    said: str
    """All of that in words."""

    @property
    def has_other_target(self) -> bool:
        return self.target != self.twin_target


def twins_of(facts: RowFacts, accepted: NDArray[np.int64], settings: DataSettings) -> dict[int, TwinRow]:
    """The twins among the accepted rows, by index."""
    found = straddling_rows(*_compared(facts, accepted), facts.splits.at(accepted), settings)
    rows = accepted[list(found)].tolist()
    others = accepted[[twin.index for twin in found.values()]].tolist()
    told = zip(_Shown.of(facts, rows), _Shown.of(facts, others), found.values(), strict=True)
    twins = (_told(row, other, twin, SHARED[settings.kind]) for row, other, twin in told)
    return dict(zip(rows, twins, strict=True))


def likenesses(
    facts: RowFacts, rows: Sequence[int], others: Sequence[int], settings: DataSettings
) -> dict[int, tuple[int, float]]:
    """Those of `rows` that equal, or nearly equal, one of `others`: which one, and how alike the two are, 0 to 1.

    All are indices of readable rows without a fault of their input.
    """
    both = [*others, *rows]
    # As if the others were learned from: then these are their twins.
    train, test = list[Split](["train"]), list[Split](["test"])
    sides = train * len(others) + test * len(rows)
    found = straddling_rows(*_compared(facts, both), sides, settings)
    return {both[at]: (both[twin.index], twin.similarity) for at, twin in found.items()}


def straddling_rows(
    contents: Iterable[str], hashes: Sequence[int], sides: Sequence[Split], settings: DataSettings
) -> dict[int, Twin]:
    """The twins among some rows if they lay on these sides, by place; images by their `hashes`, others by `contents`.

    Contents are as in `RowFacts`.
    """
    if settings.kind == "image":
        return straddling_hashes(hashes, sides, most_bits=settings.near_duplicate_bits)
    if settings.kind == "audio":
        return straddling_equals(contents, sides)
    return straddling(contents, sides, similarity=settings.near_duplicate_similarity)


def _compared(facts: RowFacts, indices: "Sequence[int] | NDArray[np.int64]") -> tuple[Iterable[str], list[int]]:
    steps = range(0, len(indices), BATCH_ROWS)
    contents = (str(one) for start in steps for one in facts.contents.at(indices[start : start + BATCH_ROWS]))
    return contents, [facts.hashes[index] for index in indices] if facts.hashes else []


@dataclass(frozen=True)
class _Shown:
    """What is told of a row."""

    line: int
    row_id: str | None
    split: Split
    target: Fact
    input: str

    @classmethod
    def of(cls, facts: RowFacts, indices: Sequence[int]) -> "Iterator[_Shown]":
        """Each of some rows: their columns are read together."""
        columns = (facts.ids, facts.columns["target"], facts.columns["input"])
        found = zip(indices, *(column.at(indices) for column in columns), strict=True)
        for index, name, target, text in found:
            row_id = None if name is None else str(name)
            yield cls(int(facts.rows.lines[index]), row_id, facts.splits[index], target, str(text))


def _told(row: _Shown, other: _Shown, twin: Twin, shared: str) -> TwinRow:
    theirs = f"line {other.line}, a {twin.split} row"
    said = f"{theirs}, shares {twin.similarity:.2f} of its {shared} with this {row.split} row"
    if row.target != other.target:
        said += f", and has another target: {other.target!a}, not {row.target!a}"
    return TwinRow(
        row.line,
        row.row_id,
        row.split,
        str(row.target or ""),
        other.line,
        other.row_id,
        twin.split,
        str(other.target or ""),
        twin.similarity,
        row.input,
        other.input,
        said,
    )


# The places of the sides where accepted rows are used: those of `SPLITS`, and behind them that of twins.
SIDES: tuple[Side, ...] = (*SPLITS, TWIN)


def side_of(index: int, splits: Sequence[Split], twins: Collection[int]) -> Side:
    """Where an accepted row is used."""
    return TWIN if index in twins else splits[index]


def sides_of(rows: NDArray[np.int64], splits: SplitColumn, twins: Collection[int]) -> NDArray[np.int8]:
    """The same of many rows, by the places in `SIDES`."""
    sides = splits.places[rows]
    is_twin = np.zeros(len(splits), np.bool_)
    is_twin[list(twins)] = True
    sides[is_twin[rows]] = SIDES.index(TWIN)
    return sides


def twins_share(splits: SplitColumn, accepted: NDArray[np.int64], twins: Collection[int]) -> float:
    """The share of the held-out rows, validation and test, that are twins."""
    return len(twins) / max(1, int(np.count_nonzero(splits.places[accepted] != SPLITS.index("train"))))
