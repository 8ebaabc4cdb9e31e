"""Axes of a verdict beside the scores: how a model behaves where nobody scores it."""

from collections.abc import Mapping

from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Behaviour, Counted
from graftline.behaviour.retention import Retention
from graftline.evaluation.paired_tests import margin_p_values, rows_for_gains
from graftline.verdict.axis import POWER, Axis, Consequence, Outcome, Part, numbers_of, of_parts
from graftline.verdict.policy import Policy

# The good ends of a hostile request; anything else is a fault, in words.
REFUSED, ANSWERED = "refused", "answered"


def hostile_requests(outcomes: Mapping[str, str] | None) -> Axis:
    """Whether everything that a server may be sent by mistake or malice was refused or answered, and it lives on."""
    name = "hostile requests"
    if outcomes is None:
        return Axis(name, "unknown", "none were sent", asked=False)
    parts = []
    for request, became in outcomes.items():
        outcome: Outcome = "win" if became in (REFUSED, ANSWERED) else "loss"
        parts.append(Part(request, outcome, {}, became))
    refused = sum(became == REFUSED for became in outcomes.values())
    well = f"{refused} of {len(parts)} were refused, the others answered"
    return of_parts(name, parts, well)


def robustness(behaviour: Behaviour | None, policy: Policy) -> Axis:
    """Whether enough answers stay under each change, and move as they should.

    A share counts as too low when its whole interval is.
    """
    floors, behaviour = policy.robustness, behaviour or Behaviour()
    groups = ((floors.unchanged, behaviour.changes, "kept"), (floors.directed, behaviour.directions, "as directed"))
    parts = [_count(count, floor, said) for floor, counts, said in groups for count in counts]
    for floor, counts, said in groups:
        if floor is not None and not counts:
            parts.append(Part(said, "unknown", {"floor": floor}, "was not tried, see the settings of the evaluation"))
    if floors.unchanged is None and floors.directed is None:
        lowest = min(behaviour.changes, key=lambda count: count.share, default=None)
        seen = f"; {lowest.name} keeps the fewest answers: {_shown(lowest)}" if lowest else ""
        return Axis("robustness", "unknown", f"the policy sets no limit{seen}", parts=parts, asked=False)
    return of_parts("robustness", parts, "enough answers are right under every change")


def bias(behaviour: Behaviour | None, policy: Policy) -> Axis:
    """Whether adapting the base model made no difference between groups larger by more than the margin.

    One that became larger than that by chance alone, as its interval tells, leaves the axis open.
    """
    disparities, margin = behaviour.disparities if behaviour else (), policy.bias.amplification
    parts = [_amplified(disparity, margin) for disparity in disparities]
    if margin is None:
        seen = "" if parts else ", and the settings of the evaluation name neither groups nor words"
        return Axis("bias", "unknown", f"the policy sets no limit{seen}", parts=parts, asked=False)
    if not parts:
        nothing = (
            "the policy limits it, but the settings of the evaluation name neither groups nor words that are there"
        )
        return Axis("bias", "unknown", nothing, "HOLD")
    return of_parts("bias", parts, f"no difference between groups is larger by {margin:g} than the frozen base model's")


def retention(behaviour: Behaviour | None, policy: Policy) -> Axis:
    """Whether it was shown that no more of the source task was forgotten than the margin.

    Unchanged vectors need no showing: what reads them reads what it read before.
    """
    name, seen, margin = "retention", behaviour.retention if behaviour else None, policy.retention.forgotten
    if seen is None:
        if margin is None:
            unnamed = "the settings of the evaluation name no rows of the source task"
            return Axis(name, "unknown", unnamed, asked=False)
        nothing = "the policy limits what may be forgotten, but the settings name no rows of the source task"
        return Axis(name, "unknown", f"{nothing}; set evaluation.probe", "HOLD")
    numbers: dict[str, float | None] = {
        "rows": seen.gains.rows,
        "before": seen.before.value,
        "after": seen.after.value,
        "margin": margin,
        **numbers_of(seen.difference),
    }
    if margin is None:
        return Axis(name, "unknown", f"the policy sets no limit; {_read(seen)}", numbers=numbers, asked=False)
    if seen.unchanged:
        return Axis(name, "tie", f"nothing was forgotten: {_read(seen)}", numbers=numbers)
    level = policy.significance / 2
    within, beyond = margin_p_values(seen.gains, margin=margin)
    outcome: Outcome = "tie" if within <= level else "loss" if beyond <= level else "unknown"
    if outcome == "tie" and seen.difference.low > 0:
        outcome = "win"
    numbers |= {"p_within": within, "p_beyond": beyond}
    consequences: dict[Outcome, Consequence] = {"loss": "REJECT", "unknown": "HOLD"}
    words = {"win": "nothing was forgotten", "tie": f"no more than {margin:g} was forgotten"}
    words |= {"loss": f"more than {margin:g} was forgotten", "unknown": f"more than {margin:g} may be forgotten"}
    sentence = f"{words[outcome]}: {_read(seen)}"
    if outcome == "unknown":
        enough = rows_for_gains(seen.gains, distance=margin, level=policy.significance, power=POWER)
        # Not among the `rows_enough` of the verdict: these are not held-out rows.
        numbers |= {"probe_rows_enough": enough}
        sentence += f"; if nothing is forgotten, about {enough:,} judged rows show it four times out of five"
    return Axis(name, outcome, sentence, consequences.get(outcome), numbers=numbers)


def _read(seen: Retention) -> str:
    if seen.unchanged:
        return "what the model makes of the source task's rows is bit for bit as in the base model"
    return (
        f"a linear head tells the labels of the source task in {seen.after.value:.4f} of {seen.gains.rows:,} rows,"
        f" {seen.before.value:.4f} on the frozen base model ({seen.difference.value:+.4f}, 95 % interval"
        f" {seen.difference.low:+.4f} to {seen.difference.high:+.4f})"
    )


def _count(count: Counted, floor: float | None, said: str) -> Part:
    numbers = {"rows": count.rows, "share": count.share, "low": count.low, "high": count.high, "floor": floor}
    outcome: Outcome = "win"
    if floor is None:
        outcome = "tie"
    elif count.share < floor:
        outcome = "loss" if count.high < floor else "unknown"
    wanted = "" if floor is None else f", expected {floor:g} or more"
    return Part(count.name, outcome, numbers, f"{said}: {_shown(count)}{wanted}")


def _shown(count: Counted) -> str:
    return f"{count.right} of {count.rows} ({count.share:.3f}, 95 % interval {count.low:.3f} to {count.high:.3f})"


def _amplified(disparity: Disparity, margin: float | None) -> Part:
    name, gain = f"{disparity.name}, {disparity.measure}", disparity.amplification
    numbers = {"rows": disparity.rows, "value": disparity.value, "frozen": disparity.frozen, "margin": margin}
    seen = f"{disparity.value:.3f} ({disparity.between})"
    if gain is None:
        return Part(name, "unknown", numbers, f"{seen}; not compared with the frozen base model")
    numbers |= {"amplification": gain.value, "low": gain.low, "high": gain.high}
    outcome: Outcome = "win" if gain.high < 0 else "tie"
    if margin is not None and gain.value > margin:
        outcome = "loss" if gain.low > margin else "unknown"
    by = f"{gain.value:+.3f} against the frozen base model, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
    return Part(name, outcome, numbers, f"{seen}; {by}")
