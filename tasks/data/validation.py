"""The validation of a table, stage by stage: its header, its rows, the files that they name, all of them together."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from graftline.data.class_folders import read_class_folders, read_files, split_folders
from graftline.data.domains import Domain, columns_of_domain, of_domain
from graftline.data.expectation import Asset, Check, Expectation
from graftline.data.expectations import expectations_for
from graftline.data.row_facts import named_columns, row_facts
from graftline.data.row_names import printable
from graftline.data.row_table import RowTable
from graftline.data.tables import Nested, read_header, read_rows, refuse_nested
from graftline.data.target_kind import TargetKind
from graftline.data.team_columns import columns_of, present
from graftline.data.twins import twins_of
from graftline.settings import DataSettings
from graftline.tasks.data.findings import Findings, Judge
from graftline.tasks.data.gx_checks import Validator
from graftline.tasks.data.media_findings import media_files
from graftline.tasks.data.row_frames import ROW_ASSETS, RowFrames, frames_of
from graftline.tasks.data.set_findings import with_set_checks
from graftline.wording import did_you_mean, shown

# Great Expectations needs half a minute to name half a million rows. Data this faulty is refused in any case, and
# nobody reads on: beyond it only examples are named, unless data.max_quarantined lets so many pass.
MOST_ROWS_NAMED_IN_REFUSED_DATA = 5_000
FILE_NAMES, CLASS_FOLDER_NAMES = ("file",), ("file", "class folder")
# A reason is read by who mends the row: longer than the examples in a refusal.
REASON_CHARACTERS = 200

logger = logging.getLogger("graftline.validate_data")


def look_into(
    table: Path,
    data: Path,
    settings: DataSettings,
    targets: TargetKind,
    team: Sequence[Expectation] = (),
    *,
    cache: Path | None = None,
    domain: Domain = "source",
) -> Iterator[Findings]:
    """The findings after each stage, up to the first at which nothing further can be said.

    `data` is the folder that holds the files of images and sounds, or links into the folder `cache`; `team` what is
    expected beside ours; `domain` which rows are looked into, where a column divides them.
    Raises: DataRefusedError for a table that cannot be read; what was found until then was given.
    """
    logger.info("validating %s", settings.path)
    judge, findings = _look_at_header(table, data, settings, targets, team)
    if findings.checks:
        yield findings
    if findings.refused:
        return
    if not findings.names:
        named = named_columns(settings, targets) | columns_of_domain(settings)
        names = tuple(dict.fromkeys([*named.values(), *columns_of(team)]))
        rows = RowTable.of(read_rows(table, names, nested=_lists(settings, targets)))
        rows = of_domain(rows, names, settings, domain)
        if domain == "target" and not targets.absent:  # of which some have no target yet
            given = map(bool, rows.values[names.index(settings.target)])
            rows = rows.where(np.fromiter(given, np.bool_, len(rows)))
        findings = replace(findings, names=names, rows=rows)
    logger.info("%d rows read", len(findings.rows))
    yield findings
    files, sample_bits = media_files(findings.rows, data, settings, cache)
    facts = row_facts(findings.rows, settings, targets, files)
    findings = replace(findings, facts=facts, sample_bits=sample_bits)
    for asset in ROW_ASSETS:
        parts = frames_of(asset, judge.of(asset), findings.rows, facts, findings.names)
        findings = findings.add(*_row_checks(judge, asset, parts, len(findings.rows)))
        yield findings
    findings = replace(findings, twins=twins_of(facts, findings.accepted, settings))
    yield with_set_checks(judge, findings, facts)


def _look_at_header(
    table: Path, data: Path, settings: DataSettings, targets: TargetKind, team: Sequence[Expectation]
) -> tuple[Judge, Findings]:
    """Who judges, and the findings about the columns; of class folders, whose columns are ours, already with rows.

    What cannot be read is refused before Great Expectations is loaded.
    """
    expectations = (*expectations_for(settings, targets), *present(team), *team)
    if not table.is_dir() or settings.kind == "text":
        header = read_header(table)
        judge = Judge(Validator(), settings, targets, expectations)
        return judge, Findings(expectations, checks=tuple(_header_checks(judge, header)))
    judge = Judge(Validator(), settings, targets, expectations)
    if targets.absent:
        return judge, Findings(expectations, names=FILE_NAMES, rows=RowTable.of(read_files(table, data, settings.kind)))
    rows = read_class_folders(table, data, settings.kind)
    if settings.split_folders == "ignore":
        rows = (replace(row, side=None) for row in rows)
    findings = Findings(expectations, names=CLASS_FOLDER_NAMES, rows=RowTable.of(rows))
    folders = ", ".join(split_folders(table))
    if folders and settings.split_folders == "use":
        logger.info("the folders %s are the split, and the class folders in them the labels", printable(folders))
        findings = replace(findings, split_from=printable(folders))
    if team:
        findings = findings.add(_header_checks(judge, dict.fromkeys(CLASS_FOLDER_NAMES, "text"), of_team=True))
    return judge, findings


def _lists(settings: DataSettings, targets: TargetKind) -> Nested:
    """Lists are targets where these may be some."""

    def nested(column: str, value: object) -> str | None:
        if column == settings.target and isinstance(value, list):
            return targets.from_list(value, settings)
        if column in targets.further and isinstance(value, list):
            return targets.further[column].from_list(value, settings)
        return refuse_nested(column, value)

    return nested


def _header_checks(judge: Judge, header: Mapping[str, str], *, of_team: bool = False) -> Iterator[Check]:
    import pandas as pd

    frame = pd.DataFrame({printable(name): [kind] for name, kind in header.items()}, dtype=object)
    expectations = [
        expectation
        for expectation in judge.of("header")
        if bool(expectation.source) >= of_team
        if expectation.kind == "ExpectColumnToExist" or expectation.column in frame.columns
    ]
    for check in judge.validator.decide("header", frame, expectations):
        if check.expectation.kind == "ExpectColumnToExist" and not check.success:
            there = ", ".join(shown(name) for name in header) or "none"
            seen = f"columns: {there}{did_you_mean(check.expectation.column or '', header, shown)}"
            yield Check(check.expectation, False, 1, seen)
        else:
            yield check


def _row_checks(
    judge: Judge, asset: Asset, parts: Sequence[RowFrames], read: int
) -> tuple[list[Check], list[tuple[int, str]]]:
    """The checks of an asset, decided quickly first; then the rows of what failed, each line with a reason."""
    checks, faulty = dict[str, Check](), dict[str, list[tuple[int, str]]]()
    most = max(MOST_ROWS_NAMED_IN_REFUSED_DATA, judge.settings.max_quarantined * read)
    for part in parts:
        name = f"{asset} {part.name}"
        decided = judge.validator.decide_in_parts(name, part.frames(), part.expectations, index="line")
        checks |= {check.expectation.name: check for check in decided}
        of_rows = [check for check in decided if check.expectation.level == "row" and not check.success]
        failed = [check.expectation for check in of_rows if check.faulty <= most]
        named = judge.validator.faulty_rows(f"{name} named", part.frames(), failed, "line") if failed else ()
        for expectation, line, value in named:
            faulty.setdefault(expectation.name, []).append((line, _reason(judge, expectation, value)))
    names = [expectation.name for expectation in judge.of(asset)]
    return [checks[name] for name in names], [row for name in names for row in faulty.get(name, ())]


def _reason(judge: Judge, expectation: Expectation, value: object) -> str:
    said = "missing" if value is None or value != value else shown(value, REASON_CHARACTERS)
    hint = did_you_mean(str(value), judge.settings.labels, shown) if expectation.name == "target_known" else ""
    return f"{expectation.name}: {said}{hint}"
