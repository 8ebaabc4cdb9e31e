"""The axes of a verdict: each looks at one side of a candidate and says win, tie, loss or unknown."""

from collections.abc import Mapping
from dataclasses import replace

from scipy.stats import norm, t

from graftline.evaluation.bootstrap import NORMAL_95, Difference, Score
from graftline.evaluation.comparison import Comparison, SliceGains
from graftline.evaluation.groups import LEAST_GROUPS, Grouped, least_groups
from graftline.evaluation.paired_tests import (
    Gains,
    holm,
    independent_rows,
    margin_p_values,
    rows_for_gains,
    rows_for_interval,
    rows_for_mcnemar,
    rows_in_groups,
    smallest_difference,
)
from graftline.evaluation.scoring import LOWER, Scoring, spelt
from graftline.verdict.axis import POWER, RISK, Axis, Consequence, Numbers, Outcome, Part, numbers_of, of_parts, worst
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy

# From here on the resamples' own p value is too coarse beside the level.
FEW_RESAMPLES = 10


def floors(scores: Mapping[str, Score], scoring: Scoring, policy: Policy) -> Axis:
    """Whether every score reaches its floor."""
    parts = [
        Part(
            name,
            "win" if scores[name].value >= floor else "loss",  # so put that a NaN misses it
            {"value": scores[name].value, "floor": floor},
            f"{name} {scores[name].value:.4f} {'reaches' if scores[name].value >= floor else 'is below'} its floor"
            f" {floor:.4f}",
        )
        for name, floor in sorted(policy.floors.of(scoring).items())
    ]
    missed = [part for part in parts if part.outcome == "loss"]
    set_ones = [part for part in parts if part.numbers["floor"]]
    sentence = "; ".join(part.sentence for part in missed or set_ones) or "the policy sets no floor"
    consequence: Consequence | None = "REJECT" if missed else None
    return Axis("floors", worst(parts), sentence, consequence, parts=parts, asked=bool(missed or set_ones))


def champion(rival: Comparison, scoring: Scoring, policy: Policy, allowed: Allowance | None = None) -> Axis:
    """Whether the main score is better than the champion's on the same rows.

    Where rows are right or wrong, exact McNemar decides: it keeps its level however few rows are discordant, which the
    bootstrap does not; its interval must lie on the same side. Of grouped rows it is the exact test of the groups'
    sums. Other main scores have no exact test: there the bootstrap decides.
    What earlier looks at the rows left is `allowed`; without that the comparison stands alone.
    """
    name, seen, level = scoring.primary, rival.gains, allowed.level if allowed else policy.significance
    difference = rival.differences[name]
    p = seen.p if seen.hits else _bootstrap_p(difference, allowed, seen.grouped)
    test = name_of_test(seen)
    enough = _rows_for_champion(difference, seen, policy, level)
    numbers: Numbers = {
        **numbers_of(difference),
        "p": p,
        "better": seen.better,
        "worse": seen.worse,
        "level": level,
        "spent": allowed.spent if allowed else None,
        "looks": allowed.looks if allowed else None,
        "rows": seen.rows,
        "rows_enough": enough,
        "smallest_difference": _smallest_difference(seen, level) if seen.hits else None,
        **_numbers_of_groups(seen.grouped),
    }
    by_group = f"; {seen.grouped.better} groups better, {seen.grouped.worse} worse" if seen.grouped else ""
    shown = f"{with_interval(name, difference)}, {test} p {p:.3g}" + (
        f" ({seen.better} rows better, {seen.worse} worse{by_group})" if seen.hits else ""
    )
    if p <= level and difference.low > 0:
        return Axis("champion", "win", f"better than {rival.against}: {shown}", numbers=numbers)
    if p <= policy.significance and difference.high < 0:
        return Axis("champion", "loss", f"worse than {rival.against}: {shown}", "REJECT", numbers=numbers)
    sentence = f"not enough evidence against {rival.against}: {shown}"
    if numbers["smallest_difference"] is not None:
        sentence += f"; {_rows(seen)} show {numbers['smallest_difference']:.4f} and more four times out of five"
    if seen.grouped and seen.hits and seen.grouped.least_p > level:
        sentence += (
            f"; more groups needed: {seen.grouped.better + seen.grouped.worse} in which the two differ can show no p"
            f" below {seen.grouped.least_p:.2g}, and a level of {level:.2g} takes {least_groups(level)}"
        )
    if allowed and allowed.looks >= 1:
        sentence += (
            f"; expected p {level:.2g} or less, for the rows were looked at {allowed.looks:.0f} times before and"
            f" {100 * allowed.spent:.0f} % of their evidence is spent"
        )
    return Axis("champion", "tie", sentence, "HOLD", numbers=numbers)


def other_scores(rival: Comparison, scoring: Scoring, policy: Policy, *, tests: int) -> Axis:
    """Whether every score beside the main one was shown to be no worse than the champion's by its margin.

    All of them have to be, so their intervals need no correction for their number (Berger 1982).
    """
    parts = []
    for name, better in scoring.better.items():
        if name == scoring.primary:
            continue
        margin = policy.margins.of(name, champion=rival.scores[name].value)
        parts.append(no_worse(name, name, better, rival, policy, margin=margin, power=1 - RISK / tests))
    return of_parts("other scores", parts, f"no other score is worse than that of {rival.against} by its margin")


def no_worse(
    part: str, score: str, better: str, rival: Comparison, policy: Policy, *, margin: float, power: float
) -> Part:
    """Whether a score, of which `better` says the direction, was shown to be no worse than the rival's by the margin.

    With so many rows as are told for it, it is shown with this `power` of one that is equal.
    """
    seen = rival.differences[score]
    low, high = (-seen.high, -seen.low) if better == LOWER else (seen.low, seen.high)
    outcome: Outcome = "win" if low > 0 else "tie" if low >= -margin else "loss" if high < -margin else "unknown"
    enough = None
    if margin:
        enough = rows_for_interval(seen, rival.gains.rows, distance=margin, level=policy.significance, power=power)
    numbers: Numbers = {**numbers_of(seen), "margin": margin, "rows_enough": enough}
    said = {"win": "better", "tie": f"no worse than by {margin:.4f}", "loss": f"worse by more than {margin:.4f}"}
    words = said.get(outcome, f"may be worse by more than {margin:.4f}")
    return Part(part, outcome, numbers, f"{words}: {with_interval(score, seen)}")


def slices(rival: Comparison, policy: Policy, *, tests: int) -> Axis:
    """Whether every slice that is large enough was shown to lose no more than the margin.

    The p values are corrected by Holm, so that everything said about the slices holds together at the level.
    """
    judged = [part for part in rival.slices if is_judged(part, policy)]
    margin, level = policy.slice_margin, policy.significance / 2
    pairs = [margin_p_values(part.gains, margin=margin) for part in judged]
    within, beyond = (holm([pair[side] for pair in pairs]) for side in (0, 1))
    parts = []
    for part, kept, lost in zip(judged, within, beyond, strict=True):
        outcome: Outcome = "tie" if kept <= level else "loss" if lost <= level else "unknown"
        # The improvement is wanted in every slice, too, so the distance to the margin is larger by it.
        needed = rows_for_gains(
            part.gains,
            distance=margin + policy.wanted_difference,
            level=policy.significance / len(judged),
            power=1 - RISK / tests,
        )
        enough = -(-needed * rival.gains.rows // part.gains.rows)
        words = {"tie": f"no worse than by {margin:g}", "loss": f"worse by more than {margin:g}"}
        parts.append(_slice(part, outcome, words.get(outcome, f"may be worse by more than {margin:g}"), kept, enough))
    for part in rival.slices:
        if part not in judged:
            few = f"too few rows to judge, expected {policy.smallest_slice} or more"
            if part.gains.rows >= policy.smallest_slice:
                few = f"too few groups to judge, expected {LEAST_GROUPS} or more"
            parts.append(_slice(part, "unknown", few, None, None))
    axis = of_parts(
        "slices", parts[: len(judged)], f"no slice of {policy.smallest_slice} rows or more is worse by {margin:g}"
    )
    small = len(parts) - len(judged)
    said = f"{axis.sentence}; {small} too small to judge" if small and judged else axis.sentence
    return replace(axis, sentence=said if judged else "no slice has enough rows to be judged", parts=parts)


def is_judged(part: SliceGains, policy: Policy) -> bool:
    """Whether a slice is large enough to say anything of it."""
    enough = part.gains.grouped is None or part.gains.grouped.groups >= LEAST_GROUPS
    return enough and part.gains.rows >= policy.smallest_slice


def better_than(
    name: str,
    rivals: Mapping[str, Comparison],
    scoring: Scoring,
    policy: Policy,
    *,
    margins: Mapping[str, float],
    left_out: Mapping[str, str],
    nothing: str,
) -> Axis:
    """Whether the main score is better than that of each of the `rivals` by its margin.

    A rival that was `left_out`, for a reason, leaves the axis unknown at best, which alone has no consequence.
    """
    missing = [Part(key, "unknown", {}, f"not compared with {spelt(key)}: {why}") for key, why in left_out.items()]
    if not rivals:
        return Axis(
            name, "unknown", "; ".join(part.sentence for part in missing) or nothing, parts=missing, asked=False
        )
    parts = []
    for key, rival in rivals.items():
        seen, margin = rival.differences[scoring.primary], margins.get(key, 0.0)
        outcome: Outcome = "win" if seen.low > margin else "loss" if not seen.value > margin else "tie"
        words = {"win": "better than", "tie": "not shown to be better than", "loss": "does not beat"}[outcome]
        enough = (
            rows_for_interval(
                seen, rival.gains.rows, distance=policy.wanted_difference, level=policy.significance, power=1 - RISK
            )
            if outcome == "tie"
            else None
        )
        reached = rival.scores[scoring.primary].value
        numbers: Numbers = {**numbers_of(seen), "margin": margin, "rows_enough": enough, "theirs": reached}
        theirs = f"{rival.against} ({reached:.4f})"
        by = f" by {margin:.4f}" if margin else ""
        parts.append(Part(key, outcome, numbers, f"{words} {theirs}{by}: {with_interval(scoring.primary, seen)}"))
    compared, failed = worst(parts), [part for part in parts if part.outcome != "win"]
    consequence: Consequence | None = {"win": None, "loss": "REJECT"}.get(compared, "HOLD")
    sentence = "; ".join(part.sentence for part in failed or [*parts, *missing])
    if failed:
        sentence = f"{name}: {sentence}"
    return Axis(name, worst([*parts, *missing]), sentence, consequence, parts=[*parts, *missing])


def teacher(rival: Comparison, beside: Mapping[str, float], scoring: Scoring, policy: Policy) -> Axis:
    """Whether the main score is no worse than the teacher's by the difference that is worth finding.

    How often both answer alike, and how much faster and smaller the candidate is, is told beside it.
    """
    seen, margin = rival.differences[scoring.primary], policy.wanted_difference
    outcome: Outcome = (
        "win" if seen.low > 0 else "tie" if seen.low >= -margin else "loss" if seen.high < -margin else "unknown"
    )
    said = {"win": "better than", "tie": f"no worse by {margin:g} than", "loss": f"worse by more than {margin:g} than"}
    words = said.get(outcome, f"may be worse by more than {margin:g} than")
    enough = rows_for_interval(seen, rival.gains.rows, distance=margin, level=policy.significance, power=1 - RISK)
    numbers: Numbers = {**numbers_of(seen), "margin": margin, "rows_enough": enough, **beside}
    sentence = f"{words} {rival.against}: {with_interval(scoring.primary, seen)}"
    if beside:
        sentence += (
            f"; the same answer to {100 * beside['same']:.1f} % of the rows, {beside['times_as_fast']:.2f} times as"
            f" fast, {beside['times_as_small']:.2f} times as small"
        )
    consequence: Consequence | None = {"loss": "REJECT", "unknown": "HOLD"}.get(outcome)  # type: ignore[assignment]
    return Axis("teacher", outcome, sentence, consequence, numbers=numbers)


def serving(measured: Mapping[str, float] | None, policy: Policy) -> Axis:
    """Whether answering stays within the policy's limits; what has a limit and was not measured is not promoted."""
    limits = {name: limit for name, limit in policy.limits.model_dump().items() if limit is not None}
    seen = measured or {}
    parts = []
    for name, limit in limits.items():
        value = seen.get(name)
        outcome: Outcome = "unknown" if value is None else "win" if value <= limit else "loss"
        said = "was not measured" if value is None else f"{value:g}"
        parts.append(
            Part(name, outcome, {"value": value, "limit": limit}, f"{spelt(name)} {said}, the limit is {limit:g}")
        )
    if not parts:
        return Axis("serving", "unknown", "the policy sets no limit", asked=False)
    return of_parts("serving", parts, "; ".join(part.sentence for part in parts))


def _slice(part: SliceGains, outcome: Outcome, words: str, p: float | None, enough: int | None) -> Part:
    seen = part.gains
    numbers: Numbers = {
        "rows": seen.rows,
        "difference": seen.mean,
        "better": seen.better,
        "worse": seen.worse,
        "p": p,
        "rows_enough": enough,
    }
    numbers = {**numbers, **_numbers_of_groups(seen.grouped)}
    shown = f"{words}: {seen.mean:+.4f} on {_rows(seen)} ({seen.better} better, {seen.worse} worse)"
    return Part(f"{part.column} {part.value}", outcome, numbers, shown)


def name_of_test(seen: Gains) -> str:
    """The paired test of the main score, in words."""
    if seen.grouped is None:
        return "exact McNemar" if seen.hits else "paired bootstrap"
    groups = f"{seen.grouped.groups:,} groups"
    return f"exact sign flips of the sums of {groups}" if seen.hits else f"paired bootstrap of {groups}"


def _rows_for_champion(difference: Difference, seen: Gains, policy: Policy, level: float) -> int:
    wanted, power = policy.wanted_difference, 1 - RISK
    if not seen.hits:
        return rows_for_interval(difference, seen.rows, distance=wanted, level=level, power=power)
    rows = rows_for_mcnemar(difference=wanted, discordance=seen.discordance, level=level, power=power)
    return rows_in_groups(rows, seen, level=level, power=power)


def _smallest_difference(seen: Gains, level: float) -> float | None:
    rows = independent_rows(seen, level=level, power=POWER)
    return smallest_difference(rows, discordance=seen.discordance, level=level, power=POWER) if rows else None


def _numbers_of_groups(grouped: Grouped | None) -> Numbers:
    if grouped is None:
        return {}
    return {
        "groups": grouped.groups,
        "groups_better": grouped.better,
        "groups_worse": grouped.worse,
        "design_effect": grouped.design_effect,
    }


def _rows(seen: Gains) -> str:
    return f"{seen.rows:,} rows" + (f" of {seen.grouped.groups:,} groups" if seen.grouped else "")


def _bootstrap_p(difference: Difference, allowed: Allowance | None, grouped: Grouped | None) -> float:
    """Resamples alone show no p value below their number's share; there their spread has to, by the normal law.

    Of few groups by Student's t.
    """
    if grouped is not None and grouped.groups < LEAST_GROUPS:
        return 1.0
    # The interval over groups is as wide as Student's t says.
    error = difference.error * (NORMAL_95 / float(t.isf(0.025, grouped.groups - 1)) if grouped else 1.0)
    if allowed is None or difference.p > FEW_RESAMPLES * allowed.level or not error > 0:
        return difference.p
    place = abs(difference.value) / error
    return float(2 * t.sf(place, grouped.groups - 1) if grouped else 2 * norm.sf(place))


def with_interval(name: str, difference: Difference) -> str:
    """A difference with its interval, in words."""
    return (
        f"{name} {difference.value:+.4f} on the same rows, 95 % interval"
        f" {difference.low:+.4f} to {difference.high:+.4f}"
    )
