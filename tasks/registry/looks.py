"""The looks at held-out rows that a history holds, and what they leave for the next one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graftline.tasks.registry.records import Look, LookAtGroups, Record
from graftline.verdict.policy import Policy

# Whoever only reads a history need not wait for numpy and scipy.
if TYPE_CHECKING:
    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.row_gains import GroupGains, RowGains
    from graftline.verdict import life


@dataclass(frozen=True)
class Choice:
    """The rows that a version was chosen by, and what was seen of it there."""

    look: Look
    gains: "RowGains"
    by_verdict: bool
    """Whether the gate said PROMOTE, though a person may have had to approve; otherwise a person chose it over that."""


def looks_before(records: Sequence[Record], record: Record | None) -> list[Record]:
    """The records with a look; if there is a `record` of a version, those before that version's own look.

    What a person decided about a verdict later repeats its look, and is none of its own.
    """
    looks = [one for one in records if one.look and one.action == "verdict"]
    if record is None:
        return looks
    own = _look_at(looks, record.version, record.run_id) or record
    return [one for one in looks if one.number < own.number]


def allowance_of(
    policy: Policy,
    gains: "RowGains | None",
    before: Sequence[Record],
    target: str | None = None,
    *,
    among: int = 1,
) -> "life.Allowance | None":
    """What the looks before left for one with these gains; none where nothing was compared.

    It is at one target, None the first, among so many that share the chance to err.
    """
    if gains is None:
        return None
    from graftline.verdict import life

    return life.allowance(
        past_looks(before, target),
        gains,
        chance=policy.false_promotions / among,
        planned=policy.planned_looks,
        most=policy.significance / among,
    )


def past_looks(records: Sequence[Record], target: str | None = None) -> "list[life.Look]":
    """The looks at a target that these records hold, oldest first; None is the first or only target."""
    from graftline.verdict import life

    looks = _looks_at(records, target)
    return [life.Look(_gains_of(look, looks), look.level) for look in looks.values()]


def _looks_at(records: Sequence[Record], target: str | None) -> dict[int, Look]:
    return {
        record.number: look
        for record in records
        if record.look
        for look in (record.look, *record.look.further)
        if look.target == target
    }


def _gains_of(look: Look, looks: Mapping[int, Look]) -> "RowGains":
    """The gains that a record holds, whose names may stand in another one of the `looks` by number."""
    from graftline.evaluation.row_gains import unpacked_gains, unpacked_groups

    gains = unpacked_gains(look.rows, look.names or str(looks[look.names_in or 0].names), look.gains)
    if (of := look.of_groups) is None:
        return gains
    elsewhere = looks[of.names_in].of_groups if of.names_in else None
    names = of.names or str(elsewhere and elsewhere.names)
    return replace(gains, of_groups=unpacked_groups(of.groups, names, of.gains, of.design_effect))


def choice_of(records: Sequence[Record], version: int, run_id: str | None) -> Choice | None:
    """By which look the version of this run was judged; none of one that had no champion to beat.

    Of several targets it is the look at the first one; none where costs decided, for it says nothing of a score.
    """
    before = looks_before(records, None)
    judged, looks = _look_at(before, version, run_id), _looks_at(before, None)
    if judged is None or judged.number not in looks or looks[judged.number].by_costs:
        return None
    chosen, look = judged.verdict == "PROMOTE" or judged.due is not None, looks[judged.number]
    return Choice(look, _gains_of(look, looks), chosen)


def look_of(
    records: Sequence[Record],
    gains: "RowGains | None",
    allowed: "life.Allowance | None",
    difference: "Difference | None",
    target: str | None = None,
    *,
    by_costs: bool = False,
) -> Look | None:
    """The look as the next record holds it. A candidate that answers like the champion showed nothing of the rows.

    `target`: at which one, None is the first. `difference`: of the main scores, `by_costs` of what answers
    cost. Of many rows the gains are those of a
    part, on which nothing may differ.
    """
    if gains is None or allowed is None or difference is None:
        return None
    if not gains.discordant and difference.value == difference.error == 0:
        return None
    text = gains.names_text
    before = looks_before(records, None)
    looks = _looks_at(before, target)
    same = next((number for number, look in looks.items() if look.names == text), None)
    return Look(
        level=allowed.level,
        spent=allowed.spent,
        looks_before=len(before),
        rows=gains.rows,
        names=None if same else text,
        names_in=same,
        gains=gains.gains_text,
        gain=difference.value,
        error=difference.error,
        of_groups=None if gains.of_groups is None else _at_groups(gains.of_groups, looks),
        target=target,
        by_costs=by_costs,
    )


def together(looks: Sequence[Look | None]) -> Look | None:
    """The looks of one comparison at several targets, as one record holds them."""
    there = [look for look in looks if look]
    return replace(there[0], further=tuple(there[1:])) if there else None


def _at_groups(gains: "GroupGains", looks: Mapping[int, Look]) -> LookAtGroups:
    from graftline.evaluation.row_gains import packed_gains, packed_names

    text = packed_names(gains.names)
    named = {number: look.of_groups for number, look in looks.items()}
    same = next((number for number, look in named.items() if look and look.names == text), None)
    return LookAtGroups(gains.groups, None if same else text, same, packed_gains(gains.gains), gains.design_effect)


def _look_at(looks: Sequence[Record], version: int, run_id: str | None) -> Record | None:
    """That of a version. The number alone may be another's, of a registry that was replaced since."""
    return next((one for one in looks if (one.version, one.run_id) == (version, run_id)), None)
