"""The findings in a table: each unmet expectation, and the reasons of each faulty row."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.data.class_folders import read_class_folders, read_files, split_folders
from graftline.data.classes import ONE_SPELLING, class_table
from graftline.data.domains import Domain, columns_of_domain, of_domain
from graftline.data.expectation import Asset, Check, Expectation
from graftline.data.expectations import TWINS_SHARE, expectations_for
from graftline.data.media_files import MOST_SAMPLE_BITS, MediaFile, look_at, sample_bits_of, used_bits
from graftline.data.row_facts import Fact, RowFacts, further_role, named_columns, row_facts, targets_of
from graftline.data.row_names import printable
from graftline.data.splitting import BY_HASH, SPLITS
from graftline.data.tables import Nested, Row, read_header, read_rows, refuse_nested
from graftline.data.target_kind import TargetKind
from graftline.data.team_columns import AS_NUMBER, columns_as_read, columns_of, present
from graftline.data.twins import TwinRow, side_of, twins_of, twins_share
from graftline.settings import DataSettings
from graftline.tasks.data.gx_checks import EXAMPLES, Validator, frame_name
from graftline.tasks.stopping import look
from graftline.wording import did_you_mean, shortened, shown

if TYPE_CHECKING:
    import pandas as pd

# Great Expectations needs half a minute to name half a million rows. Data this faulty is refused in any case, and
# nobody reads on: beyond it only examples are named, unless data.max_quarantined lets so many pass.
MOST_ROWS_NAMED_IN_REFUSED_DATA = 5_000
FILE_NAMES, CLASS_FOLDER_NAMES = ("file",), ("file", "class folder")
# A reason is read by who mends the row: longer than the examples in a refusal.
REASON_CHARACTERS = 200
# Every few seconds, for pictures.
FILES_PER_MESSAGE = 5_000
# Where nine in ten pictures need so many bits fewer than the largest value does, they lose most of their grey levels.
USUAL_SHARE, DARKER_BITS = 0.9, 2
MOST_SPELLINGS, MOST_SETTING_CHARACTERS = 20, 2_000

# The classes of one target, each with its counts.
Classes = tuple[Mapping[str, str | int | float | None], ...]

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
    classes: Classes = ()
    further_classes: Mapping[str, Classes] = field(default_factory=dict)
    """Those of the targets beside the first one."""
    sample_bits: int = MOST_SAMPLE_BITS
    """How many bits a picture of 16 bits a sample uses, if it does not say so itself."""
    split_from: str = BY_HASH
    """What says on which side of the split a row lies: hash, or the names of folders."""

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

    def of(self, asset: Asset, target: str | None = None) -> list[Expectation]:
        """Those of an asset; of the classes and the set for one target, by default the first one."""
        return [one for one in self.expectations if (one.asset, one.target) == (asset, target)]


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
        rows = tuple(read_rows(table, names, nested=_lists(settings, targets)))
        rows = of_domain(rows, names, settings, domain)
        if domain == "target" and not targets.absent:  # of which some have no target yet
            rows = tuple(row for row in rows if row.values[names.index(settings.target)])
        findings = replace(findings, names=names, rows=rows)
    logger.info("%d rows read", len(findings.rows))
    yield findings
    files, sample_bits = _media_files(findings.rows, data, settings, cache)
    facts = row_facts(findings.rows, settings, targets, files)
    findings = replace(findings, facts=facts, sample_bits=sample_bits)
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
    judge = _Judge(Validator(), settings, targets, expectations)
    if targets.absent:
        return judge, Findings(expectations, names=FILE_NAMES, rows=tuple(read_files(table, data, settings.kind)))
    rows = tuple(read_class_folders(table, data, settings.kind))
    if settings.split_folders == "ignore":
        rows = tuple(replace(row, side=None) for row in rows)
    findings = Findings(expectations, names=CLASS_FOLDER_NAMES, rows=rows)
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


def _media_files(
    rows: Sequence[Row], data: Path, settings: DataSettings, cache: Path | None
) -> tuple[dict[int, MediaFile], int]:
    """The facts about the files that the rows name, by the rows' lines; and how many bits a sample they use."""
    files: dict[int, MediaFile] = {}
    for row in rows if settings.kind != "text" else ():
        if row.fault is None and row.values[0]:
            look()  # a stop that arrives inside a decoder would make its file a faulty one
            files[row.line] = look_at(data, row.values[0], settings, cache=cache)
            if len(files) % FILES_PER_MESSAGE == 0:
                logger.info("%d files looked at", len(files))
    bits = sample_bits_of(files.values(), settings)
    _tell_bits(files.values(), bits, is_seen=not settings.sample_bits)
    for row in rows if bits < (settings.sample_bits or MOST_SAMPLE_BITS) else ():
        # Only now is it known how bright they are.
        if row.line in files and used_bits(files[row.line]):
            look()
            files[row.line] = look_at(data, str(row.values[0]), settings, cache=cache, sample_bits=bits)
    return files, bits


def _tell_bits(files: Iterable[MediaFile], bits: int, *, is_seen: bool) -> None:
    """What few pictures of larger values decide is said, too: a single damaged value is enough for it."""
    used = sorted(filter(None, map(used_bits, files)))
    if used and bits < MOST_SAMPLE_BITS:
        logger.info("pictures of 16 bits a sample are read as %d bits, and so the model will read them", bits)
    usual = used[int(USUAL_SHARE * (len(used) - 1))] if used else bits
    if is_seen and usual + DARKER_BITS <= bits:
        logger.warning(
            "%d of %d pictures of 16 bits a sample need more than %d bits, so all are read as %d bits, and most become"
            " dark; with data.sample_bits: %d those few are faulty rows",
            sum(one > usual for one in used), len(used), usual, bits, usual,
        )  # fmt: skip


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
    """The findings with the classes of each target, and with the checks of these and of the whole set."""
    numbers = {**_numbers(findings), TWINS_SHARE: twins_share(facts.splits, findings.accepted, findings.twins)}
    classes = dict[str | None, Classes]()
    for role, kind, settings in targets_of(judge.settings, judge.targets):
        target = None if role == "target" else settings.target
        checks, classes[target] = _target_checks(judge, findings, target, kind, settings, numbers)
        findings = findings.add(checks)
    further = {target: found for target, found in classes.items() if target is not None}
    return replace(findings, classes=classes[None], further_classes=further)


def _target_checks(
    judge: _Judge,
    findings: Findings,
    target: str | None,
    kind: TargetKind,
    settings: DataSettings,
    numbers: Mapping[str, float],
) -> tuple[list[Check], Classes]:
    """The checks of a target's classes and, with the first one, of the set; and its classes."""
    import pandas as pd

    facts, twins = findings.facts, findings.twins
    assert facts is not None
    column = facts.columns["target" if target is None else further_role(target)]
    there = [index for index in findings.accepted if column[index] is not None]
    targets = [(str(column[index]), side_of(index, facts.splits, twins)) for index in there]
    pairs = [(label, split) for target_of_row, split in targets for label in kind.labels(target_of_row, settings)]
    labels = settings.labels or sorted({label for label, _ in pairs})
    table = class_table(labels, pairs, accepted_rows=len(targets))
    numbers = {**numbers, **kind.set_facts(targets)}
    classes, whole = pd.DataFrame(table, dtype=object), pd.DataFrame([numbers], dtype=object)
    checks = judge.validator.decide(frame_name("classes", target), classes, judge.of("classes", target), index="label")
    checks = [_with_folders(_with_aliases(check, table, settings), findings.split_from) for check in checks]
    of_set = judge.validator.decide(frame_name("set", target), whole, judge.of("set", target))
    checks += [_with_twins(check, findings) for check in of_set]
    by_class = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return checks, tuple(by_class)


def _with_folders(check: Check, split_from: str) -> Check:
    """The check of a side's rows with the way on where folders lack some."""
    if check.success or split_from == BY_HASH or check.expectation.column not in SPLITS:
        return check
    way = "put some there, or draw one split of all the files with data.split_folders: ignore"
    return replace(check, seen=f"{check.seen} in the folders {split_from} ({way})")


def _with_aliases(
    check: Check, table: Mapping[str, Sequence[str | int | float | None]], settings: DataSettings
) -> Check:
    """The check of the labels' spellings with their rows, and with the setting that joins them."""
    if check.expectation.name != ONE_SPELLING or check.success:
        return check
    rows = {str(label): rows for label, rows in zip(table["label"], table["rows"], strict=True)}
    pairs = zip(rows, table["spelling_of"], strict=True)
    meant = {label: str(one) for label, one in pairs if one is not None}
    said = [f"{shown(label)} ({rows[label]:,} rows) for {shown(one)} ({rows[one]:,} rows)"
            for label, one in meant.items()]  # fmt: skip
    joined = {alias: meant.get(label, label) for alias, label in settings.label_aliases.items()}
    # In ASCII: of two letters that look alike, the sentence has to show which.
    setting = shortened(json.dumps({**joined, **meant}), MOST_SETTING_CHARACTERS)
    seen = (
        f"{len(meant):,} other spellings; set data.label_aliases to {setting} to join them, or write all labels into"
        " data.labels if they differ"
    )
    return replace(check, seen=seen, examples=tuple(said[:MOST_SPELLINGS]))


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
