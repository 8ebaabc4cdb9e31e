"""The axis of a verdict that asks whether answers cost more than the champion's."""

from collections.abc import Mapping

from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.costs import GIVEN
from graftline.verdict.axis import Axis, Outcome, Part, numbers_of, of_parts
from graftline.verdict.policy import Policy

NAME = "costs"


def costs(differences: Mapping[str, Difference] | None, policy: Policy, *, has_champion: bool) -> list[Axis]:
    """Whether the mean cost was shown to be no higher than the champion's by the margin; none without a limit.

    It can only hold back: cheaper answers alone promote nothing, so that the champion's test keeps its promise.
    """
    margin = policy.costs.worse
    if margin is None or not has_champion:
        return []
    if differences is None:
        nothing = "the policy limits what answers cost, but nothing says what a wrong one does; set evaluation.costs"
        return [Axis(NAME, "unknown", nothing, "HOLD")]
    seen = differences[GIVEN]
    outcome: Outcome = "unknown"
    if seen.high <= margin:
        outcome = "win" if seen.high < 0 else "tie"
    elif seen.low > margin:
        outcome = "loss"
    words = {"win": "lower", "tie": f"no higher than by {margin:g}", "loss": f"higher by more than {margin:g}"}
    sentence = (
        f"{words.get(outcome, f'may be higher by more than {margin:g}')}: {seen.value:+.4f} on the same rows, 95 %"
        f" interval {seen.low:+.4f} to {seen.high:+.4f}"
    )
    part = Part("mean cost", outcome, {**numbers_of(seen), "margin": margin}, sentence)
    return [of_parts(NAME, [part], f"mean cost {sentence}")]
