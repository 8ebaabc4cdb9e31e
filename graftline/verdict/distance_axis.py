"""The axis of a verdict that asks how far from home the rows to learn from are."""

from collections.abc import Sequence

from graftline.behaviour.findings import Behaviour
from graftline.transfer.pairs import About, Pair
from graftline.verdict.axis import Axis, Outcome, Part, of_parts
from graftline.verdict.policy import Policy

# What the limit is for; slices are shown.
JUDGED: tuple[About, ...] = ("source task", "target domain")
NAME = "distance"


def distance(behaviour: Behaviour | None, policy: Policy) -> list[Axis]:
    """Whether they lie within the limit; none where the policy sets none and nothing was measured.

    A distance counts as too large when its whole interval is.
    """
    pairs, limit = behaviour.distances if behaviour else (), policy.distance.a_distance
    judged = [pair for pair in pairs if pair.about in JUDGED]
    if limit is None:
        return [_not_asked(pairs)] if pairs else []
    if not judged:
        nothing = "the policy limits it, but the settings name no rows to measure from"
        nothing += "; set evaluation.probe or data.target_domain"
        return [Axis(NAME, "unknown", nothing, "HOLD")]
    parts = [_part(pair, limit) for pair in judged]
    return [of_parts(NAME, parts, f"no farther from home than a proxy A-distance of {limit:g}")]


def _not_asked(pairs: Sequence[Pair]) -> Axis:
    farthest = max(pairs, key=lambda pair: pair.distances.a_distance.value)
    sentence = f"the policy sets no limit; the farthest: {farthest.advice}"
    return Axis(NAME, "unknown", sentence, parts=[_part(pair, None) for pair in pairs], asked=False)


def _part(pair: Pair, limit: float | None) -> Part:
    found = pair.distances
    value, low, high = found.a_distance.value, found.a_low, found.a_high
    outcome: Outcome = "tie"
    if limit is not None and value > limit:
        outcome = "loss" if low > limit else "unknown"
    numbers = {"a_distance": value, "low": low, "high": high, "limit": limit, "p": found.a_distance.p}
    allowed = "" if limit is None else f", expected {limit:g} or less"
    sentence = f"lie at a proxy A-distance of {value:.2f} from {pair.source} (95 % interval {low:.2f} to {high:.2f})"
    return Part(pair.target, outcome, numbers, f"{sentence}{allowed}")
