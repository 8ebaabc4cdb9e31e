"""A part of step 1: the accepted rows as one table, and the numbers that say what is in it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from graftline.data.columns import BATCH_ROWS, Column
from graftline.data.row_facts import RowFacts, further_role
from graftline.data.splitting import SPLITS
from graftline.data.tables import MAX_RECORD_CHARACTERS
from graftline.data.twins import SIDES, sides_of
from graftline.digests import file_sha256, lines_sha256
from graftline.files import write_json
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, GROUP
from graftline.tasks.data.findings import Classes, Findings

if TYPE_CHECKING:
    import pyarrow as pa

SUMMARY = "summary.json"
# A group of rows in the file, as Arrow makes them of one table: these have the bytes of all rows written at once.
WRITTEN_ROWS = 1 << 20
# Arrow's texts count their bytes in 31 bits. No text is longer than the longest record of a table.
MOST_ARRAY_BYTES = 2**31
ROWS_PER_ARRAY = MOST_ARRAY_BYTES // (4 * MAX_RECORD_CHARACTERS)


def write_accepted(folder: Path, findings: Findings, settings: DataSettings) -> None:
    """Both, into a folder."""
    import pyarrow as pa
    from pyarrow import parquet

    assert findings.facts is not None
    facts, accepted = findings.facts, findings.accepted
    if len(accepted) + len(findings.reasons) != len(findings.rows):
        raise RuntimeError(
            f"{len(findings.rows)} rows read, but {len(accepted)} accepted and {len(findings.reasons)} quarantined"
        )
    schema = _accepted_table(facts, accepted[:0], findings, settings).schema
    with parquet.ParquetWriter(folder / ACCEPTED, schema) as writer:
        for start in range(0, len(accepted), WRITTEN_ROWS):
            group = accepted[start : start + WRITTEN_ROWS]
            writer.write_table(_accepted_table(facts, group, findings, settings))
            pa.default_memory_pool().release_unused()
    summary = _summary(facts, accepted, findings)
    write_json(folder / SUMMARY, {**summary, "accepted_sha256": file_sha256(folder / ACCEPTED)})


def _accepted_table(facts: RowFacts, rows: NDArray[np.int64], findings: Findings, settings: DataSettings) -> "pa.Table":
    """The columns of some of the accepted rows."""
    import pyarrow as pa

    sides = sides_of(rows, facts.splits, findings.twins)
    columns = {
        "row_id": _texts(facts.ids, rows),
        "line": pa.array(facts.rows.lines[rows], pa.int64()),
        "input": _texts(facts.columns["input"], rows),
        "target": _texts(facts.columns["target"], rows),
        "split": pa.array(SIDES, pa.string()).take(pa.array(sides)),
    }
    if settings.kind != "text":
        columns["input_sha256"] = _texts(facts.columns["input.sha256"], rows)
    if settings.kind == "audio":
        columns["seconds"] = facts.columns["input.seconds"].at(rows).values.cast(pa.float64())
    if settings.group:
        columns[GROUP] = _texts(facts.columns[GROUP], rows)
    for name in settings.slices:
        columns[f"slice.{name}"] = _texts(facts.columns[f"slice.{name}"], rows).fill_null("")
    for role in map(further_role, findings.further_classes):
        columns[role] = _texts(facts.columns[role], rows)
    return pa.table(columns)


def _texts(column: Column, rows: NDArray[np.int64]) -> "pa.ChunkedArray":
    """The texts of some rows, in several arrays where one could not hold them."""
    import pyarrow as pa

    texts = column.at(rows).values
    at_once = max(1, len(texts)) if texts.nbytes < MOST_ARRAY_BYTES else ROWS_PER_ARRAY
    parts = [texts.slice(start, at_once).cast(pa.string()) for start in range(0, max(1, len(texts)), at_once)]
    return pa.chunked_array(parts, pa.string())


def _summary(facts: RowFacts, accepted: NDArray[np.int64], findings: Findings) -> dict[str, JsonValue]:
    reasons = Counter(reason.partition(":")[0] for reasons in findings.reasons.values() for reason in reasons)
    summary: dict[str, JsonValue] = {
        "read": len(findings.rows),
        "accepted": len(accepted),
        "quarantined": len(findings.reasons),
        "twins": len(findings.twins),
        "reasons": dict(reasons),
        "sample_bits": findings.sample_bits,
        "split_from": findings.split_from,
        "split_sha256": lines_sha256(_names_and_sides(facts, accepted)),
        **_of_target(facts, accepted, findings, "target", findings.classes),
    }
    further: dict[str, JsonValue] = {
        name: _of_target(facts, accepted, findings, further_role(name), classes)
        for name, classes in findings.further_classes.items()
    }
    return {**summary, "further": further} if further else summary


def _of_target(
    facts: RowFacts, accepted: NDArray[np.int64], findings: Findings, role: str, classes: Classes
) -> dict[str, JsonValue]:
    """The labels of a target, and the rows that have it, if it is one of several: otherwise all."""
    column, is_partial = facts.columns[role], bool(findings.further_classes)
    # A file under another name is the same input.
    inputs = facts.columns.get("input.sha256", facts.columns["input"])
    there = accepted[column.there[accepted]] if is_partial else accepted
    sides = sides_of(there, facts.splits, findings.twins)
    counts = np.bincount(sides, minlength=len(SIDES)).tolist()
    test = there[sides == SIDES.index("test")]
    return {
        "labels": [str(row["label"]) for row in classes],
        "split_rows": dict(zip(SPLITS, counts, strict=False)),
        "test_sha256": lines_sha256(_in_order_of_names([facts.ids, inputs, column], test)),
    }


def _names_and_sides(facts: RowFacts, rows: NDArray[np.int64]) -> Iterator[str]:
    """The name and the side of each row, in the order of the names."""
    names = Column(facts.ids.at(rows).values)
    for some in _by_name(names):
        for name, row in zip(names.at(some), rows[some].tolist(), strict=True):
            yield str(name)
            yield facts.splits[row]


def _in_order_of_names(columns: Sequence[Column], rows: NDArray[np.int64]) -> Iterator[str]:
    """What stands in the columns, of which the first has the names, row by row in the order of these."""
    held = [Column(column.at(rows).values) for column in columns]
    for some in _by_name(held[0]):
        yield from (str(one) for row in zip(*(column.at(some) for column in held), strict=True) for one in row)


def _by_name(names: Column) -> Iterator[NDArray[np.int64]]:
    """The places of the names in their order, some at a time: no two accepted ones are equal."""
    from pyarrow import compute

    order = compute.array_sort_indices(names.values).to_numpy()
    return (order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS))
