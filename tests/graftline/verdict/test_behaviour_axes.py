"""How a model behaves where nobody scores it decides about its verdict."""

import numpy as np
import pytest

from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Behaviour, Counted, counted
from graftline.evaluation.bootstrap import Difference
from graftline.verdict.behaviour_axes import bias, hostile_requests, robustness
from graftline.verdict.policy import Bias, Policy, Robustness


def test_requests_that_are_refused_or_answered_are_well() -> None:
    axis = hostile_requests({"null": "refused", "an empty text": "answered"})
    assert (axis.outcome, axis.consequence) == ("win", None)
    assert axis.sentence == "1 of 2 were refused, the others answered"


def test_one_request_that_ends_the_process_rejects_the_model_by_its_name() -> None:
    axis = hostile_requests({"null": "refused", "a huge text": "no answer, the process had ended"})
    assert (axis.outcome, axis.consequence) == ("loss", "REJECT")
    assert axis.sentence == "a huge text no answer, the process had ended"


def test_without_requests_nothing_is_known() -> None:
    axis = hostile_requests(None)
    assert (axis.outcome, axis.consequence) == ("unknown", None)


def count(share: float, rows: int = 200) -> Counted:
    return counted("typos", np.arange(rows) < share * rows)


def disparity(gain: tuple[float, float, float] | None) -> Disparity:
    if gain is None:
        return Disparity("sex", "selection rate", 400, 0.3, "f 0.6, m 0.3")
    return Disparity("sex", "selection rate", 400, 0.3, "f 0.6, m 0.3", 0.3 - gain[0], Difference(*gain, 0.01))


@pytest.mark.parametrize(
    ("share", "outcome", "consequence"),
    [(0.95, "win", None), (0.9, "win", None), (0.87, "unknown", "HOLD"), (0.5, "loss", "REJECT")],
)
def test_a_share_of_kept_answers_is_too_low_only_when_its_whole_interval_is(
    share: float, outcome: str, consequence: str | None
) -> None:
    policy = Policy(robustness=Robustness(unchanged=0.9))
    axis = robustness(Behaviour(changes=[count(share), count(1.0)]), policy)
    assert (axis.outcome, axis.consequence) == (outcome, consequence)
    assert ("typos" in axis.sentence) == (consequence is not None)


def test_without_a_limit_robustness_and_bias_are_told_and_decide_nothing() -> None:
    seen = Behaviour(changes=[count(0.1)], disparities=[disparity((0.3, 0.2, 0.4))])
    for axis in (robustness(seen, Policy()), bias(seen, Policy())):
        assert (axis.outcome, axis.consequence) == ("unknown", None)
        assert len(axis.parts) == 1
        assert "the policy sets no limit" in axis.sentence
    assert "typos keeps the fewest answers: 20 of 200" in robustness(seen, Policy()).sentence


def test_what_the_policy_limits_and_nobody_tried_is_not_promoted() -> None:
    limits = Policy(robustness=Robustness(directed=0.9), bias=Bias(amplification=0.1))
    for axis in (
        robustness(Behaviour(changes=[count(1.0)]), limits),
        robustness(None, limits),
        bias(Behaviour(), limits),
        bias(None, limits),
    ):
        assert (axis.outcome, axis.consequence) == ("unknown", "HOLD")


@pytest.mark.parametrize(
    ("gain", "outcome", "consequence"),
    [((0.0, -0.1, 0.1), "tie", None), ((-0.2, -0.3, -0.1), "win", None), ((0.1, 0.05, 0.3), "tie", None),
     ((0.2, 0.05, 0.3), "unknown", "HOLD"), ((0.3, 0.15, 0.4), "loss", "REJECT"), (None, "unknown", "HOLD")],
)  # fmt: skip
def test_a_difference_that_adapting_made_larger_is_a_fault_once_it_is_shown(
    gain: tuple[float, float, float] | None, outcome: str, consequence: str | None
) -> None:
    axis = bias(Behaviour(disparities=[disparity(gain)]), Policy(bias=Bias(amplification=0.1)))
    assert (axis.outcome, axis.consequence) == (outcome, consequence)
