"""The findings in a table: each unmet expectation, and the reasons of each faulty row."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.data.class_folders import read_class_folders
from graftline.data.classes import class_table
from graftline.data.expectation import Asset, Check, Expectation
from graftline.data.expectations import TWINS_SHARE, expectations_for
from graftline.data.media_files import MediaFile, look_at
from graftline.data.row_facts import Fact, RowFacts, named_columns, row_facts
from graftline.data.row_names import printable
from graftline.data.tables import Row, read_header, read_rows
from graftline.data.target_kind import TargetKind
from graftline.data.team_columns import AS_NUMBER, columns_as_read, columns_of, present
from graftline.data.twins import TwinRow, side_of, twins_of, twins_share
from graftline.settings import DataSettings
from graftline.tasks.data.gx_checks import EXAMPLES, Validator
from graftline.wording import did_you_mean, shown

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


@dataclass(frozen=True)
class Findings:
    """All that has been seen so far of one table."""

    expectations: tuple[Expectation, ...] = ()
    checks: tuple[Check, ...] = ()
    names: tuple[str, ...] = ()
    """The names of the rows' values where they come from."""
    rows: tuple[Row, ...] = ()
    facts: RowFacts | None = None
    reasons: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Of faulty rows, by their lines."""
    twins: Mapping[int, TwinRow] = field(default_factory=dict)
    """Accepted held-out rows that are not scored, by their places among the readable rows."""
    classes: tuple[Mapping[str, str | int | float | None], ...] = ()

    @property
    def refused(self) -> bool:
        return any(not check.success for check in self.checks if check.expectation.level == "set")

    @property
    def accepted(self) -> list[int]:
        """Which of the readable rows have no fault."""
        rows = self.facts.rows if self.facts else ()
        return [index for index, row in enumerate(rows) if row.line not in self.reasons]

    def add(self, checks: Iterable[Check], reasons: Iterable[tuple[int, str]] = ()) -> "Findings":
        """These findings and more of them."""
        joined = dict(self.reasons)
        for line, reason in reasons:
            joined[line] = (*joined.get(line, ()), reason)
        return replace(self, checks=(*self.checks, *checks), reasons=joined)


@dataclass(frozen=True)
class _Judge:
    """Great Expectations, and all that is expected of one set of data."""

    validator: Validator
    settings: DataSettings
    targets: TargetKind
    expectations: tuple[Expectation, ...]

    def of(self, asset: Asset) -> list[Expectation]:
        return [expectation for expectation in self.expectations if expectation.asset == asset]


def look_into(
    table: Path,
    data: Path,
    settings: DataSettings,
    targets: TargetKind,
    team: Sequence[Expectation] = (),
    *,
    cache: Path | None = None,
) -> Iterator[Findings]:
    """The findings after each stage, up to the first at which nothing further can be said.

    `data` is the folder that holds the files of images and sounds, or links into the folder `cache`; `team` what is
    expected beside ours.
    Raises: DataRefusedError for a table that cannot be read; what was found until then was given.
    """
    logger.info("validating %s", settings.path)
    judge, findings = _look_at_header(table, data, settings, targets, team)
    if findings.checks:
        yield findings
    if findings.refused:
        return
    if not findings.names:
        names = tuple(dict.fromkeys([*named_columns(settings).values(), *columns_of(team)]))
        findings = replace(findings, names=names, rows=tuple(read_rows(table, names)))
    logger.info("%d rows read", len(findings.rows))
    yield findings
    facts = row_facts(findings.rows, settings, targets, _media_files(findings.rows, data, settings, cache))
    findings = replace(findings, facts=facts)
    as_read = columns_as_read(facts.rows, findings.names, team)
    for asset, frame in _row_frames(findings.rows, facts, as_read).items():
        findings = findings.add(*_row_checks(judge, asset, frame, len(findings.rows)))
        yield findings
    findings = replace(findings, twins=twins_of(facts, findings.accepted, settings))
    yield _with_set_checks(judge, findings, facts)


def _look_at_header(
    table: Path, data: Path, settings: DataSettings, targets: TargetKind, team: Sequence[Expectation]
) -> tuple[_Judge, Findings]:
    """Who judges, and the findings about the columns; of class folders, whose columns are ours, already with rows.

    What cannot be read is refused before Great Expectations is loaded.
    """
    expectations = (*expectations_for(settings, targets), *present(team), *team)
    if not table.is_dir() or settings.kind == "text":
        header = read_header(table)
        judge = _Judge(Validator(), settings, targets, expectations)
        return judge, Findings(expectations, checks=tuple(_header_checks(judge, header)))
    rows = tuple(read_class_folders(table, data, settings.kind))
    judge = _Judge(Validator(), settings, targets, expectations)
    findings = Findings(expectations, names=CLASS_FOLDER_NAMES, rows=rows)
    if team:
        findings = findings.add(_header_checks(judge, dict.fromkeys(CLASS_FOLDER_NAMES, "text"), of_team=True))
    return judge, findings


def _media_files(rows: Sequence[Row], data: Path, settings: DataSettings, cache: Path | None) -> dict[int, MediaFile]:
    """The facts about the files that the rows name, by the rows' lines."""
    files: dict[int, MediaFile] = {}
    for row in rows if settings.kind != "text" else ():
        if row.fault is None and row.values[0]:
            files[row.line] = look_at(data, row.values[0], settings, cache=cache)
            if len(files) % FILES_PER_MESSAGE == 0:
                logger.info("%d files looked at", len(files))
    return files


def _header_checks(judge: _Judge, header: Mapping[str, str], *, of_team: bool = False) -> Iterator[Check]:
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


def _row_frames(
    rows: Sequence[Row], facts: RowFacts, as_read: Mapping[str, Sequence[Fact]]
) -> dict[Asset, "pd.DataFrame"]:
    """The rows as Great Expectations sees them: text as objects, because pandas' own stops at invalid Unicode."""
    import pandas as pd

    lines = {"line": [row.line for row in rows], "fault": [row.fault and printable(row.fault) for row in rows]}
    return {
        "lines": pd.DataFrame(lines, dtype=object),
        "rows": pd.DataFrame({**facts.columns, **as_read}, dtype=object).astype(
            {name: float for name in as_read if name.startswith(AS_NUMBER)}
        ),
    }


def _row_checks(
    judge: _Judge, asset: Asset, frame: "pd.DataFrame", read: int
) -> tuple[list[Check], list[tuple[int, str]]]:
    """The checks of an asset, decided quickly first; then the rows of what failed, each line with a reason."""
    checks = judge.validator.decide(asset, frame, judge.of(asset), index="line")
    most = max(MOST_ROWS_NAMED_IN_REFUSED_DATA, judge.settings.max_quarantined * read)
    of_rows = [check for check in checks if check.expectation.level == "row" and not check.success]
    failed = [check.expectation for check in of_rows if check.faulty <= most]
    faulty = judge.validator.faulty_rows(f"{asset} named", frame, failed, "line") if failed else ()
    return checks, [(line, _reason(judge, expectation, value)) for expectation, line, value in faulty]


def _reason(judge: _Judge, expectation: Expectation, value: object) -> str:
    said = "missing" if value is None or value != value else shown(value, REASON_CHARACTERS)
    hint = did_you_mean(str(value), judge.settings.labels, shown) if expectation.name == "target_known" else ""
    return f"{expectation.name}: {said}{hint}"


def _with_set_checks(judge: _Judge, findings: Findings, facts: RowFacts) -> Findings:
    """The findings with the classes, and with the checks of these and of the whole set."""
    import pandas as pd

    accepted, twins = findings.accepted, findings.twins
    targets = [(str(facts.columns["target"][index]), side_of(index, facts.splits, twins)) for index in accepted]
    pairs = [(label, split) for target, split in targets for label in judge.targets.labels(target, judge.settings)]
    labels = judge.settings.labels or sorted({label for label, _ in pairs})
    table = class_table(labels, pairs, accepted_rows=len(targets))
    numbers = {**_numbers(findings), **judge.targets.set_facts(targets)}
    numbers[TWINS_SHARE] = twins_share(facts.splits, accepted, twins)
    classes, whole = pd.DataFrame(table, dtype=object), pd.DataFrame([numbers], dtype=object)
    checks = judge.validator.decide("classes", classes, judge.of("classes"), index="label")
    checks += [_with_twins(check, findings) for check in judge.validator.decide("set", whole, judge.of("set"))]
    by_class = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return replace(findings.add(checks), classes=tuple(by_class))


def _with_twins(check: Check, findings: Findings) -> Check:
    """The check of their share with their number, and a few of them."""
    if check.expectation.name != TWINS_SHARE or not findings.twins:
        return check
    some = tuple(f"line {row.line}: {row.said}" for row in islice(findings.twins.values(), EXAMPLES))
    return replace(check, seen=f"{len(findings.twins):,} twins", examples=some)


def _numbers(findings: Findings) -> dict[str, float]:
    """Counts of rows. A fault whose rows were too many to be named counts as well."""
    by_row = (check.faulty for check in findings.checks if check.expectation.level == "row")
    quarantined, read = max([len(findings.reasons), *by_row]), len(findings.rows)
    return {"read": read, "accepted": read - quarantined, "quarantined_share": quarantined / max(1, read)}
