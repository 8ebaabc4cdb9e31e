"""Step 1, validate_data: accept what is fit to be learned from, quarantine faulty rows, refuse faulty data."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from graftline.data.class_folders import read_class_folders
from graftline.data.expectations import Asset, Check, class_table, did_you_mean, expectations_for, shown
from graftline.data.media_files import MediaFile, look_at
from graftline.data.row_facts import RowFacts, named_columns, row_facts
from graftline.data.row_names import printable
from graftline.data.splitting import SPLITS, Split
from graftline.data.tables import Row, read_header, read_rows
from graftline.data.targets import labels_in, spread
from graftline.digests import json_sha256, lines_sha256
from graftline.errors import DataRefusedError
from graftline.files import write_atomically, write_json
from graftline.pages.validation_page import QuarantinedRow, ValidationPage, render
from graftline.settings import DataSettings, Kind, Task
from graftline.tasks.data.gx_checks import Validator
from graftline.tasks.step_folders import StepFolder, Workspace, produce
from graftline.tasks.steps.data_version import DATA_FOLDER, DataVersion, rows_sha256, table_path

if TYPE_CHECKING:
    import pandas as pd

STEP = "validate_data"
LIBRARIES = ("great-expectations", "pandas", "pyarrow", "numpy")
LIBRARIES_OF: dict[Kind, tuple[str, ...]] = {
    "text": ("datasketch",),
    "image": ("pillow", "imagehash", "scipy"),
    "audio": ("soundfile",),
}
ACCEPTED, QUARANTINE, PAGE, CHECKS, SUMMARY = (
    "accepted.parquet",
    "quarantine.jsonl",
    "validation.html",
    "validation.json",
    "summary.json",
)
# Great Expectations needs half a minute to name half a million rows. Data this faulty is refused in any case, and
# nobody reads on: beyond it only examples are named, unless data.max_quarantined lets so many pass.
MOST_ROWS_NAMED_IN_REFUSED_DATA = 5_000
CLASS_FOLDER_NAMES = ("file", "class folder")
# A reason is read by who mends the row: longer than the examples in a refusal.
REASON_CHARACTERS = 200
# Every few seconds, for pictures.
FILES_PER_MESSAGE = 5_000

logger = logging.getLogger("graftline.validate_data")


@dataclass(frozen=True)
class ValidatedData:
    """The rows that are fit to be learned from, where they lie, and how they are split."""

    folder: StepFolder
    data: DataVersion
    read: int
    accepted: int
    quarantined: int
    kind: Kind
    task: Task
    labels: tuple[str, ...]
    """In the order of the model's outputs; none for regression."""
    label_separator: str
    """Stands between the labels of a multi_label target."""
    split_rows: dict[str, int]
    split_sha256: str
    """The digest of every accepted row's name and side."""
    test_sha256: str
    """The digest of the held-out rows: names, inputs and labels."""
    page: Path


@dataclass
class _Findings:
    """What has been seen so far of one table."""

    checks: list[Check] = field(default_factory=list)
    names: tuple[str, ...] = ()
    """What the rows' values are called where they come from."""
    rows: list[Row] = field(default_factory=list)
    facts: RowFacts | None = None
    reasons: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    classes: list[dict[str, str | int | float | None]] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        return any(not check.success for check in self.checks if check.expectation.level == "set")


@task(name="validate_data", persist_result=False, cache_policy=NO_CACHE)
def validate_data(workspace: Workspace, settings: DataSettings, version: DataVersion) -> ValidatedData:
    """Check the data that `version` names, split it, and keep what was accepted and what was not.

    Raises: DataRefusedError naming every unmet expectation of the set; its page is written all the same.
    """
    depends_on: dict[str, JsonValue] = {
        "rows_sha256": version.sha256,
        "settings": settings.model_dump(mode="json", exclude={"allow_modified"}),
        "version": version.version,
        "modified": version.modified,
    }
    refused = workspace.artifacts / STEP / "refused" / json_sha256(depends_on)[:32]
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        libraries=(*LIBRARIES, *LIBRARIES_OF[settings.kind]),
        build=lambda folder: _build(folder, refused, workspace, settings, version),
    )
    return _record(folder, settings, version)


def _build(folder: Path, refused: Path, workspace: Workspace, settings: DataSettings, version: DataVersion) -> None:
    table = table_path(workspace, settings)
    findings = _Findings()
    try:
        _look_at(workspace, settings, findings)
    except DataRefusedError as error:
        _write_findings(refused, findings, settings, version, verdict="refused")
        raise DataRefusedError(f"{error}; the page: {refused / PAGE}") from None
    if rows_sha256(workspace, settings) != version.sha256:
        raise DataRefusedError(f"{table}: the files changed while they were read; run again")
    if findings.refused:
        _write_findings(refused, findings, settings, version, verdict="refused")
        raise DataRefusedError(_refusal(table, findings.checks, refused / PAGE))
    _write_findings(folder, findings, settings, version, verdict="accepted")
    _write_accepted(folder, findings, settings)


def _look_at(workspace: Workspace, settings: DataSettings, findings: _Findings) -> None:
    """Fill `findings`, up to the first stage at which nothing further can be said."""
    table, data = table_path(workspace, settings), workspace.root / DATA_FOLDER
    logger.info("validating %s", settings.path)
    if table.is_dir() and settings.kind != "text":
        findings.names = CLASS_FOLDER_NAMES
        findings.rows = list(read_class_folders(table, data, settings.kind))
        validator = Validator()
    else:
        header = read_header(table)
        validator = Validator()
        _check_header(validator, header, settings, findings)
        if findings.refused:
            return
        findings.names = tuple(named_columns(settings).values())
        findings.rows = list(read_rows(table, findings.names))
    logger.info("%d rows read", len(findings.rows))
    findings.facts = row_facts(findings.rows, settings, _media_files(data, findings.rows, settings))
    for asset, frame in _row_frames(findings.rows, findings.facts).items():
        _check_rows(validator, asset, frame, settings, findings)
    _check_set(validator, settings, findings)


def _media_files(data: Path, rows: Sequence[Row], settings: DataSettings) -> dict[int, MediaFile]:
    """What is known of the files that the rows name, by the rows' lines."""
    files: dict[int, MediaFile] = {}
    for row in rows if settings.kind != "text" else ():
        if row.fault is None and row.values[0]:
            files[row.line] = look_at(data, row.values[0], settings)
            if len(files) % FILES_PER_MESSAGE == 0:
                logger.info("%d files looked at", len(files))
    return files


def _check_header(validator: Validator, header: Mapping[str, str], settings: DataSettings, findings: _Findings) -> None:
    import pandas as pd

    frame = pd.DataFrame({printable(name): [kind] for name, kind in header.items()}, dtype=object)
    expectations = [
        expectation
        for expectation in expectations_for(settings)
        if expectation.asset == "header"
        and (expectation.kind == "ExpectColumnToExist" or expectation.column in frame.columns)
    ]
    for check in validator.decide("header", frame, expectations):
        if check.expectation.kind == "ExpectColumnToExist" and not check.success:
            there = ", ".join(shown(name) for name in header) or "none"
            seen = f"columns: {there}{did_you_mean(check.expectation.column or '', header)}"
            findings.checks.append(Check(check.expectation, False, 1, seen))
        else:
            findings.checks.append(check)


def _row_frames(rows: Sequence[Row], facts: RowFacts) -> dict[Asset, "pd.DataFrame"]:
    """What Great Expectations sees: text as objects, because pandas' own text type stops at invalid Unicode."""
    import pandas as pd

    lines = {"line": [row.line for row in rows], "fault": [row.fault and printable(row.fault) for row in rows]}
    return {
        "lines": pd.DataFrame(lines, dtype=object),
        "rows": pd.DataFrame(facts.columns, dtype=object),
    }


def _check_rows(
    validator: Validator, asset: Asset, frame: "pd.DataFrame", settings: DataSettings, findings: _Findings
) -> None:
    """Decide quickly first, then name the rows of what failed."""
    expectations = [expectation for expectation in expectations_for(settings) if expectation.asset == asset]
    checks = validator.decide(asset, frame, expectations, index="line")
    findings.checks += checks
    most = max(MOST_ROWS_NAMED_IN_REFUSED_DATA, settings.max_quarantined * len(findings.rows))
    failed = [check.expectation for check in checks if not check.success and check.faulty <= most]
    if failed:
        for expectation, line, value in validator.faulty_rows(f"{asset} named", frame, failed, "line"):
            hint = did_you_mean(str(value), settings.labels) if expectation.name == "target_known" else ""
            findings.reasons[line].append(f"{expectation.name}: {_reason(value)}{hint}")


def _reason(value: object) -> str:
    return "missing" if value is None or value != value else shown(value, REASON_CHARACTERS)


def _check_set(validator: Validator, settings: DataSettings, findings: _Findings) -> None:
    import pandas as pd

    assert findings.facts is not None
    accepted = _accepted(findings)
    targets = findings.facts.columns["target"]
    pairs = [
        (label, findings.facts.splits[index]) for index in accepted for label in _labels(str(targets[index]), settings)
    ]
    labels = settings.labels or sorted({label for label, _ in pairs})
    classes = class_table(labels, pairs, accepted_rows=len(accepted))
    findings.classes = [dict(zip(classes, values, strict=True)) for values in zip(*classes.values(), strict=True)]
    # A fault whose rows were too many to be named counts as well.
    quarantined = max([len(findings.reasons), *(c.faulty for c in findings.checks if c.expectation.level == "row")])
    read = len(findings.rows)
    numbers = {"read": read, "accepted": read - quarantined, "quarantined_share": quarantined / max(1, read)}
    if settings.task == "regression":
        numbers |= {
            f"{split}_spread": spread([str(targets[i]) for i in accepted if findings.facts.splits[i] == split])
            for split in SPLITS
        }
    frames: dict[Asset, pd.DataFrame] = {
        "classes": pd.DataFrame(classes, dtype=object),
        "set": pd.DataFrame([numbers], dtype=object),
    }
    for asset, frame in frames.items():
        expectations = [expectation for expectation in expectations_for(settings) if expectation.asset == asset]
        findings.checks += validator.decide(asset, frame, expectations, index="label" if asset == "classes" else None)


def _labels(target: str, settings: DataSettings) -> tuple[str, ...]:
    if settings.task == "regression":
        return ()
    return labels_in(target, settings.label_separator) if settings.task == "multi_label" else (target,)


def _accepted(findings: _Findings) -> list[int]:
    """Which of the readable rows have no fault."""
    assert findings.facts is not None
    return [index for index, row in enumerate(findings.facts.rows) if row.line not in findings.reasons]


def _refusal(table: Path, checks: Sequence[Check], page: Path) -> str:
    failed = [check for check in checks if not check.success]
    faults = [
        f"{check.expectation.name} (expected that {check.expectation.meaning}; {check.seen}"
        + (f", such as {'; '.join(check.examples)})" if check.examples else ")")
        for check in sorted(failed, key=lambda check: check.expectation.level, reverse=True)
    ]
    return f"{table}: the data was refused: {' | '.join(faults)}; mend the data or the data settings; the page: {page}"


def _write_findings(
    folder: Path,
    findings: _Findings,
    settings: DataSettings,
    version: DataVersion,
    *,
    verdict: Literal["accepted", "refused"],
) -> None:
    rows = _quarantined_rows(findings)
    accepted = len(findings.rows) - len(rows)
    page = ValidationPage(
        verdict, settings.path, version.version, version.modified, len(findings.rows), accepted, len(rows),
        findings.checks, findings.classes, rows, QUARANTINE,
    )  # fmt: skip
    write_atomically(folder / QUARANTINE, "".join(_json_line(asdict(row)) for row in rows))
    write_json(folder / CHECKS, [check.as_json() for check in findings.checks])
    write_atomically(folder / PAGE, render(page))


def _json_line(value: Mapping[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n"


def _quarantined_rows(findings: _Findings) -> list[QuarantinedRow]:
    facts = findings.facts
    ids = {row.line: row_id for row, row_id in zip(facts.rows, facts.ids, strict=True)} if facts else {}
    return [
        QuarantinedRow(
            row.line,
            _safe(ids.get(row.line)),
            tuple(findings.reasons[row.line]),
            {printable(name): _safe(value) for name, value in zip(findings.names, row.values, strict=True)}
            if row.fault is None
            else {"raw": printable(row.raw)},
        )
        for row in findings.rows
        if row.line in findings.reasons
    ]


def _safe(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _write_accepted(folder: Path, findings: _Findings, settings: DataSettings) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    assert findings.facts is not None
    facts, accepted = findings.facts, _accepted(findings)
    if len(accepted) + len(findings.reasons) != len(findings.rows):
        raise RuntimeError(
            f"{len(findings.rows)} rows read, but {len(accepted)} accepted and {len(findings.reasons)} quarantined"
        )
    columns = {
        "row_id": pa.array([facts.ids[index] for index in accepted], pa.string()),
        "line": pa.array([facts.rows[index].line for index in accepted], pa.int64()),
        "input": pa.array([facts.columns["input"][index] for index in accepted], pa.string()),
        "target": pa.array([facts.columns["target"][index] for index in accepted], pa.string()),
        "split": pa.array([facts.splits[index] for index in accepted], pa.string()),
    }
    if settings.kind != "text":
        digests = facts.columns["input.sha256"]
        columns["input_sha256"] = pa.array([digests[index] for index in accepted], pa.string())
    if settings.kind == "audio":
        columns["seconds"] = pa.array([facts.columns["input.seconds"][index] for index in accepted], pa.float64())
    for name in settings.slices:
        values = facts.columns[f"slice.{name}"]
        columns[f"slice.{name}"] = pa.array([values[index] or "" for index in accepted], pa.string())
    parquet.write_table(pa.table(columns), folder / ACCEPTED)
    write_json(folder / SUMMARY, _summary(facts, accepted, findings))


def _summary(facts: RowFacts, accepted: Sequence[int], findings: _Findings) -> dict[str, JsonValue]:
    sides = sorted((str(facts.ids[index]), facts.splits[index]) for index in accepted)
    # A file under another name is the same input.
    inputs = facts.columns.get("input.sha256", facts.columns["input"])
    test = sorted(
        (str(facts.ids[index]), str(inputs[index]), str(facts.columns["target"][index]))
        for index in accepted
        if facts.splits[index] == "test"
    )
    counts: Counter[Split] = Counter(facts.splits[index] for index in accepted)
    reasons = Counter(reason.partition(":")[0] for reasons in findings.reasons.values() for reason in reasons)
    return {
        "read": len(findings.rows),
        "accepted": len(accepted),
        "quarantined": len(findings.reasons),
        "reasons": dict(reasons),
        "labels": [str(row["label"]) for row in findings.classes],
        "split_rows": {split: counts[split] for split in SPLITS},
        "split_sha256": lines_sha256(part for row in sides for part in row),
        "test_sha256": lines_sha256(part for row in test for part in row),
    }


def _record(folder: StepFolder, settings: DataSettings, version: DataVersion) -> ValidatedData:
    summary = cast(dict[str, JsonValue], folder.read_json(SUMMARY))
    logger.info(
        "%s: %s rows accepted, %s quarantined (%s)",
        STEP, summary["accepted"], summary["quarantined"], folder.outcome,
    )  # fmt: skip
    return ValidatedData(
        folder=folder,
        data=version,
        read=cast(int, summary["read"]),
        accepted=cast(int, summary["accepted"]),
        quarantined=cast(int, summary["quarantined"]),
        kind=settings.kind,
        task=settings.task,
        labels=tuple(cast(list[str], summary["labels"])),
        label_separator=settings.label_separator,
        split_rows=cast(dict[str, int], summary["split_rows"]),
        split_sha256=cast(str, summary["split_sha256"]),
        test_sha256=cast(str, summary["test_sha256"]),
        page=folder.path / PAGE,
    )
