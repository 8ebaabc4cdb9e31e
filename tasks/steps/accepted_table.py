"""A part of step 1: the accepted rows as one table, and the numbers that say what is in it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from graftline.data.row_facts import RowFacts, further_role
from graftline.data.splitting import SPLITS, Side
from graftline.data.twins import side_of
from graftline.digests import file_sha256, lines_sha256
from graftline.files import write_json
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, GROUP
from graftline.tasks.data.findings import Classes, Findings

SUMMARY = "summary.json"


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
    columns = {
        "row_id": pa.array([facts.ids[index] for index in accepted], pa.string()),
        "line": pa.array([facts.rows[index].line for index in accepted], pa.int64()),
        "input": pa.array([facts.columns["input"][index] for index in accepted], pa.string()),
        "target": pa.array([facts.columns["target"][index] for index in accepted], pa.string()),
        "split": pa.array([side_of(index, facts.splits, findings.twins) for index in accepted], pa.string()),
    }
    if settings.kind != "text":
        digests = facts.columns["input.sha256"]
        columns["input_sha256"] = pa.array([digests[index] for index in accepted], pa.string())
    if settings.kind == "audio":
        columns["seconds"] = pa.array([facts.columns["input.seconds"][index] for index in accepted], pa.float64())
    if settings.group:
        groups = facts.columns[GROUP]
        columns[GROUP] = pa.array([groups[index] for index in accepted], pa.string())
    for name in settings.slices:
        values = facts.columns[f"slice.{name}"]
        columns[f"slice.{name}"] = pa.array([values[index] or "" for index in accepted], pa.string())
    for role in map(further_role, findings.further_classes):
        columns[role] = pa.array([facts.columns[role][index] for index in accepted], pa.string())
    parquet.write_table(pa.table(columns), folder / ACCEPTED)
    summary = _summary(facts, accepted, findings)
    write_json(folder / SUMMARY, {**summary, "accepted_sha256": file_sha256(folder / ACCEPTED)})


def _summary(facts: RowFacts, accepted: Sequence[int], findings: Findings) -> dict[str, JsonValue]:
    sides = sorted((str(facts.ids[index]), facts.splits[index]) for index in accepted)
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
    there = [index for index in accepted if column[index] is not None or not is_partial]
    side = {index: side_of(index, facts.splits, findings.twins) for index in there}
    test = sorted(
        (str(facts.ids[index]), str(inputs[index]), str(column[index])) for index in side if side[index] == "test"
    )
    counts: Counter[Side] = Counter(side.values())
    return {
        "labels": [str(row["label"]) for row in classes],
        "split_rows": {split: counts[split] for split in SPLITS},
        "test_sha256": lines_sha256(part for row in test for part in row),
    }
