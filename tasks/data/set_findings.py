"""The findings about all rows together: the classes of each target, the sides of the split, twins."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from graftline.data.classes import ONE_SPELLING, class_table
from graftline.data.columns import BATCH_ROWS
from graftline.data.expectation import Check
from graftline.data.expectations import TWINS_SHARE
from graftline.data.row_facts import RowFacts, further_role, targets_of
from graftline.data.splitting import BY_HASH, SPLITS, Side
from graftline.data.target_kind import TargetKind
from graftline.data.twins import SIDES, sides_of, twins_share
from graftline.settings import DataSettings
from graftline.tasks.data.findings import Classes, Findings, Judge
from graftline.tasks.data.gx_checks import EXAMPLES, frame_name
from graftline.wording import shortened, shown

MOST_SPELLINGS, MOST_SETTING_CHARACTERS = 20, 2_000


def with_set_checks(judge: Judge, findings: Findings, facts: RowFacts) -> Findings:
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
    judge: Judge,
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
    targets = Counter[tuple[str, Side]]()
    accepted = findings.accepted
    sides = sides_of(accepted, facts.splits, twins)
    for start in range(0, len(accepted), BATCH_ROWS):
        some = slice(start, start + BATCH_ROWS)
        pairs_of_some = zip(column.at(accepted[some]), (SIDES[side] for side in sides[some].tolist()), strict=True)
        targets.update((str(target), side) for target, side in pairs_of_some if target is not None)
    pairs = Counter[tuple[str, Side]]()
    for (target_of_rows, side), count in targets.items():
        for label in kind.labels(target_of_rows, settings):
            pairs[label, side] += count
    labels = settings.labels or sorted({label for label, _ in pairs})
    table = class_table(labels, pairs, accepted_rows=targets.total())
    numbers = {**numbers, **kind.set_facts(targets.keys())}
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
