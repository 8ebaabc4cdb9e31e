"""A part of step 1: the accepted rows as one table, and the numbers that say what is in it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from graftline.data.columns import Column
from graftline.data.row_facts import RowFacts, further_role
from graftline.data.splitting import SPLITS, Side
from graftline.data.tables import MAX_RECORD_CHARACTERS
from graftline.data.twins import side_of
from graftline.digests import file_sha256, lines_sha256
from graftline.files import write_json
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, GROUP
from graftline.tasks.data.findings import Classes, Findings

if TYPE_CHECKING:
    import pyarrow as pa

SUMMARY = "summary.json"
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
    sides = [side_of(index, facts.splits, findings.twins) for index in accepted]
    columns = {
        "row_id": _texts(facts.ids, accepted),
        "line": pa.array(facts.rows.lines[accepted], pa.int64()),
        "input": _texts(facts.columns["input"], accepted),
        "target": _texts(facts.columns["target"], accepted),
        "split": pa.array(sides, pa.string()),
    }
    if settings.kind != "text":
        columns["input_sha256"] = _texts(facts.columns["input.sha256"], accepted)
    if settings.kind == "audio":
        columns["seconds"] = facts.columns["input.seconds"].at(accepted).values.cast(pa.float64())
    if settings.group:
        columns[GROUP] = _texts(facts.columns[GROUP], accepted)
    for name in settings.slices:
        columns[f"slice.{name}"] = _texts(facts.columns[f"slice.{name}"], accepted).fill_null("")
    for role in map(further_role, findings.further_classes):
        columns[role] = _texts(facts.columns[role], accepted)
    parquet.write_table(pa.table(columns), folder / ACCEPTED)
    summary = _summary(facts, accepted, findings)
    write_json(folder / SUMMARY, {**summary, "accepted_sha256": file_sha256(folder / ACCEPTED)})


def _texts(column: Column, rows: Sequence[int]) -> "pa.ChunkedArray":
    """The texts of some rows, in several arrays where one could not hold them."""
    import pyarrow as pa

    texts = column.at(rows).values
    at_once = max(1, len(texts)) if texts.nbytes < MOST_ARRAY_BYTES else ROWS_PER_ARRAY
    parts = [texts.slice(start, at_once).cast(pa.string()) for start in range(0, max(1, len(texts)), at_once)]
    return pa.chunked_array(parts, pa.string())


def _summary(facts: RowFacts, accepted: Sequence[int], findings: Findings) -> dict[str, JsonValue]:
    places = _by_id(facts, np.asarray(accepted, np.int64))
    sides = zip(map(str, facts.ids.at(places)), (facts.splits[place] for place in places), strict=True)
    reasons = Counter(reason.partition(":")[0] for reasons in findings.reasons.values() for reason in reasons)
    summary: dict[str, JsonValue] = {
        "read": len(findings.rows),
        "accepted": len(accepted),
        "quarantined": len(findings.reasons),
        "twins": len(findings.twins),
        "reasons": dict(reasons),
        "sample_bits": findings.sample_bits,
        "split_from": findings.split_from,
        "split_sha256": lines_sha256(part for row in sides for part in row),
        **_of_target(facts, accepted, findings, "target", findings.classes),
    }
    further: dict[str, JsonValue] = {
        name: _of_target(facts, accepted, findings, further_role(name), classes)
        for name, classes in findings.further_classes.items()
    }
    return {**summary, "further": further} if further else summary


def _of_target(
    facts: RowFacts, accepted: Sequence[int], findings: Findings, role: str, classes: Classes
) -> dict[str, JsonValue]:
    """The labels of a target, and the rows that have it, if it is one of several: otherwise all."""
    column, is_partial = facts.columns[role], bool(findings.further_classes)
    # A file under another name is the same input.
    inputs = facts.columns.get("input.sha256", facts.columns["input"])
    places = np.asarray(accepted, np.int64)
    there = places[column.at(places).there] if is_partial else places
    sides: list[Side] = [side_of(place, facts.splits, findings.twins) for place in there.tolist()]
    test = _by_id(facts, there[np.fromiter((side == "test" for side in sides), np.bool_, len(sides))])
    rows = zip(*(map(str, one.at(test)) for one in (facts.ids, inputs, column)), strict=True)
    counts = Counter(sides)
    return {
        "labels": [str(row["label"]) for row in classes],
        "split_rows": {split: counts[split] for split in SPLITS},
        "test_sha256": lines_sha256(part for row in rows for part in row),
    }


def _by_id(facts: RowFacts, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows in the order of their names, of which no two accepted ones are equal."""
    from pyarrow import compute

    in_order: NDArray[np.int64] = places[compute.array_sort_indices(facts.ids.at(places).values).to_numpy()]
    return in_order
