"""The verdict where costs decide: one test on costs, the task's score among the others."""

import dataclasses

import pytest

from graftline.errors import SettingsError
from graftline.evaluation import single_label
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.comparison import Comparison
from graftline.evaluation.costs import SPARED
from graftline.evaluation.paired_tests import Gains
from graftline.settings import Settings
from graftline.verdict.by_costs import decide, require_costs
from graftline.verdict.gate import Evaluated, Verdict
from graftline.verdict.policy import Policy
from tests.graftline.verdict.test_gate import BETTER, MAJORITY, SCORES, UNSURE, WORSE, axis, exactly

BY_COSTS = Policy(main_score="costs")


def spared(low: float, high: float, against: str = "champion version 3") -> Comparison:
    """Answers that cost less by a mean between these."""
    seen = Difference((low + high) / 2, low, high, 0.002 if low > 0 or high < 0 else 0.5)
    gains = Gains(1000, seen.value, 0.3, 60, 40, hits=False)
    return Comparison(against, {SPARED: exactly(1.0)}, {SPARED: seen}, gains)


def judged(champion: Comparison, priced: Comparison, *, majority: Comparison | None = None) -> Verdict:
    beside = (MAJORITY, majority or spared(0.4, 0.6, "the most frequent label"))
    scores = dict.fromkeys(SCORES, exactly(0.9))
    candidate = Evaluated(single_label.SCORES.scoring, scores)
    return decide(candidate, champion, priced, baselines={"majority": beside}, policy=BY_COSTS)


def test_cheaper_answers_are_promoted_though_the_score_is_no_better() -> None:
    verdict = judged(UNSURE, spared(0.1, 0.3))
    assert verdict.verdict == "PROMOTE"
    assert verdict.reasons[0].startswith("better than champion version 3: spared_costs +0.2000 on the same rows")


def test_a_better_score_alone_is_held_and_dearer_answers_are_rejected() -> None:
    assert judged(BETTER, spared(-0.1, 0.1)).verdict == "HOLD"
    assert judged(BETTER, spared(-0.3, -0.1)).verdict == "REJECT"


def test_the_score_must_be_no_worse_by_its_margin() -> None:
    lower = Difference(-0.1, -0.12, -0.08, 0.002)
    worse = dataclasses.replace(WORSE, differences={**WORSE.differences, "accuracy": lower})
    verdict = judged(worse, spared(0.1, 0.3))
    assert verdict.verdict == "REJECT"
    assert "accuracy worse by more than 0.0300" in axis(verdict, "other scores").sentence


def test_baselines_are_beaten_on_costs() -> None:
    verdict = judged(UNSURE, spared(0.1, 0.3), majority=spared(-0.05, 0.15, "the most frequent label"))
    assert verdict.verdict == "HOLD"
    assert "baseline: not shown to be better than the most frequent label" in verdict.reasons[0]


def settings(**evaluation: object) -> Settings:
    tree = {"data": {"path": "data/rows.csv"}, "base_model": {"uri": "path:base"}, "registry": {"model": "tiny"}}
    return Settings.model_validate({**tree, "evaluation": evaluation})


def test_costs_can_only_decide_where_they_are_named_and_about_the_held_out_rows() -> None:
    require_costs(BY_COSTS, settings(costs=["a > b: 2"]))
    require_costs(Policy(), settings())
    with pytest.raises(SettingsError, match=r"main_score costs without evaluation\.costs: name there what a wrong"):
        require_costs(BY_COSTS, settings())
    with pytest.raises(SettingsError, match=r"main_score costs with evaluation\.target_rows: costs decide about one"):
        require_costs(BY_COSTS, settings(costs=["a > b: 2"], target_rows="data/there.csv"))
    with pytest.raises(ValueError, match=r"main_score costs with improvement target_domain: costs are compared on the"):
        Policy(main_score="costs", improvement="target_domain")
