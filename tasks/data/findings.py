"""What is found in a table: each unmet expectation, and the reasons of each faulty row."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.data.class_folders import read_class_folders
from graftline.data.expectations import Asset, Check, class_table, did_you_mean, expectations_for, shown
from graftline.data.media_files import MediaFile, look_at
from graftline.data.row_facts import RowFacts, named_columns, row_facts
from graftline.data.row_names import printable
from graftline.data.splitting import SPLITS
from graftline.data.tables import Row, read_header, read_rows
from graftline.data.targets import labels_in, spread
from graftline.settings import DataSettings
from graftline.tasks.data.files import DATA_FOLDER, table_path
from graftline.tasks.data.gx_checks import Validator
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

# Great Expectations needs half a minute to name half a million rows. Data this faulty is refused in any case, and
# nobody reads on: beyond it only examples are named, unless data.max_quarantined lets so many pass.
MOST_ROWS_NAMED_IN_REFUSED_DATA = 5_000
CLASS_FOLDER_NAMES = ("file", "class folder")
# A reason is read by who mends the row: longer than the examples in a refusal.
REASON_CHARACTERS = 200
# Every few seconds, for pictures.
FILES_PER_MESSAGE = 5_000

logger = logging.getLogger("graftline.validate_data")


@dataclass
class Findings:
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


def look_into(workspace: Workspace, settings: DataSettings, findings: Findings) -> None:
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


def _check_header(validator: Validator, header: Mapping[str, str], settings: DataSettings, findings: Findings) -> None:
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
    validator: Validator, asset: Asset, frame: "pd.DataFrame", settings: DataSettings, findings: Findings
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


def _check_set(validator: Validator, settings: DataSettings, findings: Findings) -> None:
    import pandas as pd

    assert findings.facts is not None
    accepted = accepted_places(findings)
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


def accepted_places(findings: Findings) -> list[int]:
    """Which of the readable rows have no fault."""
    assert findings.facts is not None
    return [index for index, row in enumerate(findings.facts.rows) if row.line not in findings.reasons]
