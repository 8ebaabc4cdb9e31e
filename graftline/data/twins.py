"""The twins of a table: accepted held-out rows that nearly are a row that a model learns from, whatever their kind."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from graftline.data.columns import BATCH_ROWS
from graftline.data.near_duplicates import Twin, straddling, straddling_equals, straddling_hashes
from graftline.data.row_facts import RowFacts
from graftline.data.splitting import TWIN, Side, Split
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


def twins_of(facts: RowFacts, accepted: Sequence[int], settings: DataSettings) -> dict[int, TwinRow]:
    """The twins among the accepted rows, by index."""
    found = straddling_rows(*_compared(facts, accepted), [facts.splits[index] for index in accepted], settings)
    shared = SHARED[settings.kind]
    return {accepted[at]: _told(facts, accepted[at], accepted[twin.index], twin, shared) for at, twin in found.items()}


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


def _compared(facts: RowFacts, indices: Sequence[int]) -> tuple[Iterable[str], list[int]]:
    steps = range(0, len(indices), BATCH_ROWS)
    contents = (str(one) for start in steps for one in facts.contents.at(indices[start : start + BATCH_ROWS]))
    return contents, [facts.hashes[index] for index in indices if facts.hashes]


def _told(facts: RowFacts, index: int, other: int, twin: Twin, shared: str) -> TwinRow:
    targets, inputs = facts.columns["target"], facts.columns["input"]
    line, twin_line = (int(facts.rows.lines[place]) for place in (index, other))
    row_id, twin_id = (None if (name := facts.ids[place]) is None else str(name) for place in (index, other))
    split, theirs = facts.splits[index], f"line {twin_line}, a {twin.split} row"
    said = f"{theirs}, shares {twin.similarity:.2f} of its {shared} with this {split} row"
    if targets[index] != targets[other]:
        said += f", and has another target: {targets[other]!a}, not {targets[index]!a}"
    return TwinRow(
        line,
        row_id,
        split,
        str(targets[index] or ""),
        twin_line,
        twin_id,
        twin.split,
        str(targets[other] or ""),
        twin.similarity,
        str(inputs[index]),
        str(inputs[other]),
        said,
    )


def side_of(index: int, splits: Sequence[Split], twins: Collection[int]) -> Side:
    """Where an accepted row is used."""
    return TWIN if index in twins else splits[index]


def twins_share(splits: Sequence[Split], accepted: Sequence[int], twins: Collection[int]) -> float:
    """The share of the held-out rows, validation and test, that are twins."""
    return len(twins) / max(1, sum(splits[index] != "train" for index in accepted))
