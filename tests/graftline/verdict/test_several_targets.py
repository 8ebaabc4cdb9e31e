"""One verdict on several targets: better in the main one or in any, worse in none, and none better off alone."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from graftline.errors import SettingsError
from graftline.evaluation import single_label
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.comparison import Comparison
from graftline.verdict.gate import Evaluated, Unscored, Verdict
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Effects, Policy
from graftline.verdict.several_targets import SINGLE_TASK, TargetSeen, decide_several
from tests.graftline.verdict.test_gate import BETTER, MAJORITY, SCORES, UNSURE, WORSE, against, axis, exactly, hits

SAME, MUCH_WORSE = against(seen=hits(6, 6)), against(seen=hits(20, 90))
ALONE = against("the same training for this target alone", hits(20, 18))
WELL = Policy(effects=Effects(negative_transfer="advise"))


def seen(
    name: str,
    champion: Comparison | Unscored | None,
    *,
    alone: Comparison | None = ALONE,
    allowed: Allowance | None = None,
    left_out: Mapping[str, str] | None = None,
) -> TargetSeen:
    candidate = Evaluated(single_label.SCORES.scoring, dict.fromkeys(SCORES, exactly(0.9)), left_out=left_out or {})
    baselines = {"majority": MAJORITY} | ({SINGLE_TASK: alone} if alone else {})
    return TargetSeen(name, candidate, champion, baselines, allowed)


def judged(*targets: TargetSeen, policy: Policy = WELL) -> Verdict:
    return decide_several(targets, policy)


def test_the_first_model_needs_no_champion_but_stands_every_axis_for_every_target() -> None:
    verdict = judged(seen("label", None), seen("rating", None))
    assert verdict.verdict == "PROMOTE"
    assert [one.name for one in verdict.axes if one.name.startswith("rating: ")] == [
        "rating: baseline", "rating: negative transfer", "rating: robustness", "rating: bias",
    ]  # fmt: skip
    assert axis(verdict, "interference").outcome == "tie"


@pytest.mark.parametrize(
    ("label", "rating", "expected"),
    [(BETTER, SAME, "PROMOTE"), (SAME, BETTER, "PROMOTE"), (SAME, SAME, "HOLD"), (BETTER, MUCH_WORSE, "REJECT")],
)
def test_any_target_may_be_the_better_one_while_none_is_worse(
    label: Comparison, rating: Comparison, expected: str
) -> None:
    assert judged(seen("label", label), seen("rating", rating)).verdict == expected


def test_the_main_target_alone_has_to_be_better_where_the_policy_names_one() -> None:
    policy = WELL.model_copy(update={"main_target": "rating"})
    assert judged(seen("label", BETTER), seen("rating", SAME), policy=policy).verdict == "HOLD"
    promoted = judged(seen("label", SAME), seen("rating", BETTER), policy=policy)
    assert promoted.verdict == "PROMOTE"
    assert promoted.reasons[0].startswith("rating: better than champion version 3")
    assert judged(seen("label", BETTER), seen("rating", WORSE), policy=policy).verdict == "REJECT"
    first = policy.model_copy(update={"main_target": "label"})
    assert judged(seen("label", BETTER), seen("rating", SAME), policy=first).verdict == "PROMOTE"
    with pytest.raises(
        SettingsError, match="main_target 'rating' is no target of these data, expected one of label, a"
    ):
        policy.require_target(["label", "a"])


def test_each_of_two_targets_has_half_of_the_level_and_the_second_the_whole_once_one_was_shown() -> None:
    # 32 against 15 rows: p 0.019, between a half and the whole of 0.05.
    between = against(seen=hits(32, 15))
    assert 0.025 > between.gains.p > 0.0125
    policy = WELL.model_copy(update={"significance": 0.025})
    assert judged(seen("label", between), policy=policy).verdict == "PROMOTE"
    assert judged(seen("label", between), seen("rating", SAME), policy=policy).verdict == "HOLD"
    found = axis(judged(seen("label", between), seen("rating", BETTER), policy=policy), "champion")
    assert {part.name: part.outcome for part in found.parts} == {"label": "win", "rating": "win"}
    alone = axis(judged(seen("label", between), seen("rating", SAME), policy=policy), "champion")
    assert [part.outcome for part in alone.parts] == ["tie", "tie"]


def test_what_earlier_candidates_left_decides_target_by_target() -> None:
    little, much = Allowance(1e-9, 0.9, 300.0), Allowance(0.02, 0.1, 2.0)
    held = judged(seen("label", BETTER, allowed=little), seen("rating", SAME, allowed=much))
    assert held.verdict == "HOLD"
    assert judged(seen("label", BETTER, allowed=much), seen("rating", SAME, allowed=little)).verdict == "PROMOTE"


def test_a_target_that_a_model_of_its_own_would_serve_better_is_negative_interference() -> None:
    lost = against("the same training for this target alone", hits(20, 90))
    found = judged(seen("label", BETTER), seen("rating", BETTER, alone=lost))
    assert found.verdict == "REJECT"
    assert "rating worse by more than 0.0300: accuracy -0.0700" in found.reasons[0]
    advising = WELL.model_copy(update={"effects": WELL.effects.model_copy(update={"interference": "advise"})})
    assert judged(seen("label", BETTER), seen("rating", BETTER, alone=lost), policy=advising).verdict == "PROMOTE"
    unsure = against("the same training for this target alone", hits(40, 55))
    assert judged(seen("label", BETTER), seen("rating", BETTER, alone=unsure)).verdict == "HOLD"


def test_heads_that_learn_nothing_from_one_another_are_not_compared_with_models_of_their_own() -> None:
    why = {SINGLE_TASK: "heads that are solved on a frozen model learn nothing from one another"}
    verdict = judged(seen("label", BETTER, alone=None, left_out=why), seen("rating", SAME, alone=None, left_out=why))
    assert verdict.verdict == "PROMOTE"
    assert not axis(verdict, "interference").asked


def test_a_target_that_the_champion_has_not_is_compared_with_nothing() -> None:
    assert judged(seen("label", BETTER), seen("rating", None)).verdict == "PROMOTE"
    held = judged(seen("label", SAME), seen("rating", None), policy=WELL.model_copy(update={"main_target": "rating"}))
    assert held.verdict == "HOLD"
    assert "the champion does not answer rating" in held.reasons[0]


def test_a_target_of_the_champion_that_is_answered_no_more_holds_the_candidate_whatever_is_better() -> None:
    better = seen("label", BETTER)
    held = judged(replace(better, candidate=replace(better.candidate, dropped=["rating"])), seen("tone", BETTER))
    assert held.verdict == "HOLD"
    assert held.reasons[0].startswith("the champion answers rating, too, which this version does not")


def test_a_champion_that_could_not_be_asked_holds_the_candidate() -> None:
    unscored = Unscored("champion version 3 could not be scored")
    assert judged(seen("label", unscored), seen("rating", unscored)).verdict == "HOLD"


def test_slices_and_other_scores_of_every_target_count() -> None:
    worse = replace(SAME, differences={**SAME.differences, "log_loss": Difference(0.2, 0.15, 0.25, 0.01)})
    found = judged(seen("label", BETTER), seen("rating", worse))
    assert found.verdict == "REJECT"
    assert found.reasons[0].startswith("rating: log_loss worse by more than")


def test_a_tie_of_all_targets_tells_each() -> None:
    held = judged(seen("label", UNSURE), seen("rating", UNSURE))
    assert "label: not enough evidence" in held.reasons[0]
    assert "rating: not enough evidence" in held.reasons[0]
