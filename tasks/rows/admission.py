"""Which of the proposed rows the line would take, judged by its own validation, and what the next version then holds.

No row that was held out or learned from before may change its side, its name or its target, nor leave the scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graftline.answers.tasks import targets_in
from graftline.data.splitting import SPLITS, TWIN, Side, Split
from graftline.data.tables import Row
from graftline.data.twins import likenesses, side_of
from graftline.errors import DataRefusedError
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.expectation_files import read_expectation_files
from graftline.tasks.data.findings import Findings
from graftline.tasks.data.validation import look_into
from graftline.tasks.rows.changes import Key, Proposal, apply, faults_of_names, keys_of
from graftline.tasks.rows.draft import Draft


@dataclass(frozen=True)
class Judged:
    """What validation says of one row."""

    row_id: str | None
    content: str
    target: str
    split: Split
    side: Side


@dataclass(frozen=True)
class Looked:
    """What validation says of one version: of the accepted rows, of the faulty ones, and of the whole."""

    findings: Findings
    accepted: Mapping[Key, Judged]
    reasons: Mapping[Key, tuple[str, ...]]
    index: Mapping[Key, int]
    """Where the readable rows stand among the facts."""

    @property
    def unmet(self) -> dict[str, str]:
        """What is not met of the set, each with what was seen."""
        return {
            check.expectation.name: f"{check.expectation.meaning} ({check.seen})"
            for check in self.findings.checks
            if not check.success and check.expectation.level == "set"
        }


@dataclass(frozen=True)
class Admission:
    """A proposal after all that cannot be was taken out of it."""

    old: Looked
    new: Looked
    admitted: Proposal
    refused: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)

    @property
    def still_refused(self) -> list[str]:
        """For what the line would refuse the data afterwards as it does now."""
        return list(self.new.unmet.values())


# Tells of a version with its proposal which of the proposed rows may not be, for a reason of their own.
Objection = Callable[[Looked, Looked, set[Key]], Mapping[Key, str]]


def look_at_data(draft: Draft) -> Looked:
    """What validation says of the data as they are. Raises: DataRefusedError if it does not come to single rows."""
    findings = _findings(draft, draft.old, draft.version.table)
    return _looked(findings, findings.rows.lines.tolist())


def admit(draft: Draft, old: Looked, proposal: Proposal, object_to: Objection | None = None) -> Admission:
    """Leave of a proposal what the line takes, and write that into the draft.

    Raises: DataRefusedError if all of it together makes the data worse: they would be refused, or read otherwise.
    """
    rows = {row.line: row for row in old.findings.rows}
    refused: dict[Key, tuple[str, ...]] = {
        key: (fault,) for key, fault in faults_of_names(draft, proposal, rows).items()
    }
    while True:
        rest = proposal.without(set(refused))
        new = _with(draft, old, rest, rows)
        if not rest.keys:
            return Admission(old, new, rest, refused)
        faults = _faults(draft, old, new, rest.keys)
        if object_to is not None:
            faults = {key: (why,) for key, why in object_to(old, new, rest.keys).items()} | faults
        if not faults:
            _require_the_same(draft, old, new, rest)
            return Admission(old, new, rest, refused)
        refused |= faults


def leaks(
    draft: Draft, old: Looked, new: Looked, keys: set[Key], *, beside: Mapping[Split, Sequence[Side]]
) -> dict[Key, str]:
    """Those of the rows that equal, or nearly equal, an old row on one of the sides `beside` their own, and which."""
    facts = new.findings.facts
    assert facts is not None
    found: dict[Key, str] = {}
    for split, sides in beside.items():
        mine = [new.index[key] for key in sorted(keys) if key in new.accepted and new.accepted[key].split == split]
        others = [new.index[key] for key, row in old.accepted.items() if row.side in sides and key not in keys]
        names = {new.index[key]: key for key in new.index}
        for index, (other, alike) in likenesses(facts, mine, others, draft.settings).items():
            found[names[index]] = (
                f"it is {alike:.2f} the same as the {old.accepted[names[other]].split} row in line {names[other]}:"
                f" as a {split} row it would give away what that is to show"
            )
    return found


def _with(draft: Draft, old: Looked, proposal: Proposal, rows: Mapping[int, Row]) -> Looked:
    """What validation says of the data with a proposal, which is in the draft afterwards."""
    if not proposal.keys:
        return old
    apply(draft, proposal, rows)
    findings = _findings(draft, draft.data, draft.table)
    try:
        keys = keys_of(draft, proposal, old.findings.rows, findings.rows)
    except ValueError as error:
        raise DataRefusedError(
            f"{draft.settings.path}: written anew it reads as {error}: a row is empty, or holds what its form cannot;"
            " nothing was changed"
        ) from None
    return _looked(findings, keys)


def _findings(draft: Draft, data: Path, table: Path) -> Findings:
    settings, findings = draft.settings, Findings()
    team, cache = read_expectation_files(draft.workspace), objects_folder(draft.workspace.root)
    for findings in look_into(table, data, settings, targets_in(settings), team, cache=cache):  # noqa: B007
        pass
    if findings.facts is None:
        unmet = [check for check in findings.checks if not check.success]
        raise DataRefusedError(
            f"{settings.path}: is refused before any of its rows; mend the table or the data settings",
            [f"{check.expectation.meaning}: {check.seen}" for check in unmet],
        )
    for check in findings.checks:
        named = sum(check.expectation.name in (one.partition(":")[0] for one in reasons)
                    for reasons in findings.reasons.values())  # fmt: skip
        if check.expectation.level == "row" and check.faulty > named:
            raise DataRefusedError(
                f"{settings.path}: {check.faulty:,} rows are faulty ({check.expectation.meaning}), too many to be named"
                " one by one; mend where they come from, and make a version of that"
            )
    return findings


def _looked(findings: Findings, keys: Sequence[Key]) -> Looked:
    facts = findings.facts
    assert facts is not None
    key_of = dict(zip(findings.rows.lines.tolist(), keys, strict=True))
    index = {key_of[line]: place for place, line in enumerate(facts.rows.lines.tolist())}
    names = {place: key for key, place in index.items()}
    places = findings.accepted.tolist()
    columns = (facts.ids.at(places), facts.contents.at(places), facts.columns["target"].at(places))
    accepted = {
        names[place]: Judged(
            None if row_id is None else str(row_id),
            str(content),
            str(target),
            facts.splits[place],
            side_of(place, facts.splits, findings.twins),
        )
        for place, row_id, content, target in zip(places, *columns, strict=True)
    }
    reasons = {key_of[line]: said for line, said in findings.reasons.items()}
    return Looked(findings, accepted, reasons, index)


def _faults(draft: Draft, old: Looked, new: Looked, keys: set[Key]) -> dict[Key, tuple[str, ...]]:
    """The proposed rows that would be quarantined, or spoil a row that is there."""
    faults = {key: new.reasons[key] for key in keys if key in new.reasons}
    # A row on a side before that of a held-out one takes it out of the scores.
    sides = {split: [*SPLITS[place + 1 :]] for place, split in enumerate(SPLITS)}
    faults |= {key: (why,) for key, why in leaks(draft, old, new, keys, beside=sides).items()}
    renamed = {
        row.content: key for key, row in old.accepted.items()
        if key not in keys and key in new.accepted and new.accepted[key].row_id != row.row_id
    }  # fmt: skip
    for key in keys - faults.keys():
        if key in new.accepted and (other := renamed.get(new.accepted[key].content)) is not None:
            faults[key] = (f"it has the same input as line {other}, whose name would change; remove one of them",)
    return faults


def _require_the_same(draft: Draft, old: Looked, new: Looked, proposal: Proposal) -> None:
    """Every other row is what it was, and the set is none that the line refuses if it did not before."""
    for key, row in old.accepted.items():
        if key not in proposal.keys and new.accepted.get(key) != row:
            raise DataRefusedError(
                f"{draft.settings.path}: line {key}, which is accepted, would become another row or be quarantined"
                f" ({'; '.join(new.reasons.get(key, ())) or 'its name, target, input or side'}); nothing was changed"
            )
    if new.findings.sample_bits != old.findings.sample_bits:
        raise DataRefusedError(
            f"{draft.settings.path}: with the new pictures all those of 16 bits would be read as"
            f" {new.findings.sample_bits} bits, not {old.findings.sample_bits}; set data.sample_bits first"
        )
    worse = [said for name, said in new.unmet.items() if name not in old.unmet]
    if worse:
        raise DataRefusedError(
            f"{draft.settings.path}: with these rows the line would refuse the data; nothing was changed", worse
        )


def scored_held_out(looked: Looked) -> int:
    """How many rows are held out for the verdict and scored."""
    return sum(row.side == "test" for row in looked.accepted.values())


def twins_among(looked: Looked, keys: set[Key]) -> int:
    """How many of the rows are on no side, for one that they nearly are is before them."""
    return sum(looked.accepted[key].side == TWIN for key in keys if key in looked.accepted)
