"""The limit of what answers may cost: by its interval, and never a reason to promote."""

import pytest

from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.costs import GIVEN, LEAST
from graftline.verdict.cost_axis import costs
from graftline.verdict.policy import CostLimits, Policy
from tests.graftline.verdict.test_gate import BETTER, POLICY, UNSURE, judge

LIMITED = Policy(costs=CostLimits(worse=0.1))


def dearer(low: float, high: float) -> dict[str, Difference]:
    return dict.fromkeys((GIVEN, LEAST), Difference((low + high) / 2, low, high, 0.01))


@pytest.mark.parametrize(
    ("low", "high", "outcome", "consequence"),
    [
        (-0.3, -0.1, "win", None),
        (-0.1, 0.1, "tie", None),
        (-0.1, 0.2, "unknown", "HOLD"),
        (0.11, 0.3, "loss", "REJECT"),
        (float("nan"), float("nan"), "unknown", "HOLD"),
    ],
)
def test_answers_may_cost_more_only_within_the_margin(
    low: float, high: float, outcome: str, consequence: str | None
) -> None:
    (axis,) = costs(dearer(low, high), LIMITED, has_champion=True)
    assert (axis.outcome, axis.consequence) == (outcome, consequence)


def test_nothing_is_asked_without_a_limit_or_a_champion() -> None:
    assert costs(dearer(1, 2), Policy(), has_champion=True) == []
    assert costs(dearer(1, 2), LIMITED, has_champion=False) == []


def test_a_limit_without_costs_holds_and_says_what_to_set() -> None:
    (axis,) = costs(None, LIMITED, has_champion=True)
    assert axis.consequence == "HOLD"
    assert axis.sentence.endswith("nothing says what a wrong one does; set evaluation.costs")


def test_cheaper_answers_alone_promote_nothing_and_dearer_ones_hold_back_what_is_better() -> None:
    policy = POLICY.model_copy(update={"costs": CostLimits(worse=0.1)})
    cheap, dear = dearer(-5, -4), dearer(0.2, 0.4)
    assert judge(champion=UNSURE, policy=policy, costs=cheap).verdict == "HOLD"
    assert judge(champion=BETTER, policy=policy, costs=cheap).verdict == "PROMOTE"
    assert judge(champion=BETTER, policy=policy, costs=dear).verdict == "REJECT"
    assert judge(champion=BETTER, policy=POLICY, costs=dear).verdict == "PROMOTE"
    advising = policy.model_copy(update={"effects": policy.effects.model_copy(update={"costs": "advise"})})
    assert judge(champion=BETTER, policy=advising, costs=dear).verdict == "PROMOTE"
