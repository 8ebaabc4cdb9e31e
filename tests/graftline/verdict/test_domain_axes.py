"""The axis of the target domain: no worse than what is there, better than plain training, and a rule of its own."""

import pytest

from graftline.verdict.domain_axes import PLAIN, InTargetDomain
from graftline.verdict.policy import Effects, Policy
from tests.graftline.verdict.test_gate import BETTER, MAJORITY, UNSURE, WORSE, against, axis, hits, judge

EQUAL = against(seen=hits(10, 10))
# By no more than the margin, shown and not shown; and by more.
A_LITTLE, PERHAPS, MUCH = against(seen=hits(10, 20)), against(seen=hits(60, 100)), against(seen=hits(10, 110))
NAME = "target domain"
THERE = Policy(improvement="target_domain")


@pytest.mark.parametrize(
    ("target", "verdict", "said"),
    [
        (InTargetDomain(EQUAL), "PROMOTE", "no worse than by 0.05 beside champion version 3"),
        (InTargetDomain(A_LITTLE), "PROMOTE", "no worse than by 0.05"),
        (InTargetDomain(PERHAPS), "HOLD", "may be worse by more than 0.05"),
        (InTargetDomain(MUCH), "REJECT", "worse by more than 0.05"),
        (InTargetDomain(EQUAL, {"majority": MAJORITY}), "PROMOTE", "better than the most frequent label (0.5000)"),
        (InTargetDomain(EQUAL, {"majority": WORSE}), "REJECT", "worse than champion version 3"),
        (InTargetDomain(EQUAL, {"frozen_head": UNSURE}), "PROMOTE", "not shown to be better than"),
        (InTargetDomain(EQUAL, {PLAIN: against("plain", hits(60, 20))}), "PROMOTE", "better than plain (0.8500)"),
        (InTargetDomain(EQUAL, {PLAIN: against("plain", hits(44, 36))}), "HOLD", "keep plain training (adaptation.d"),
        (InTargetDomain(EQUAL, {PLAIN: against("plain", hits(20, 60))}), "REJECT", "worse than plain (0.8500)"),
        (InTargetDomain(obstacle="it has another task"), "HOLD", "it has another task"),
    ],
)
def test_a_model_that_is_better_on_the_held_out_rows_must_be_fit_for_the_target_domain_too(
    target: InTargetDomain, verdict: str, said: str
) -> None:
    judged = judge(target=target)
    assert judged.verdict == verdict
    assert said in axis(judged, NAME).sentence
    if verdict != "PROMOTE":
        assert any(said in reason for reason in judged.reasons)


@pytest.mark.parametrize(
    ("champion", "there", "verdict"),
    [
        (EQUAL, BETTER, "PROMOTE"),
        (EQUAL, UNSURE, "HOLD"),
        (BETTER, UNSURE, "HOLD"),
        (EQUAL, WORSE, "REJECT"),
        (PERHAPS, BETTER, "HOLD"),
        (MUCH, BETTER, "REJECT"),
    ],
)
def test_where_the_policy_says_so_the_improvement_is_to_be_shown_there_and_nothing_lost_at_home(
    champion: object, there: object, verdict: str
) -> None:
    judged = judge(champion=champion, target=InTargetDomain(there), policy=THERE)  # type: ignore[arg-type]
    assert judged.verdict == verdict
    if verdict == "PROMOTE":
        assert judged.reasons == (axis(judged, NAME).sentence,)
        assert "better than champion version 3" in judged.reasons[0]
    # The numbers of the test at a level stand on the axis that decides.
    assert axis(judged, NAME).numbers is not None
    assert "level" in (axis(judged, NAME).numbers or {})
    assert "level" not in (axis(judged, "champion").numbers or {})


def test_worth_of_the_base_model_is_asked_where_the_improvement_is_wanted() -> None:
    at_home = {"frozen_head": against("frozen", WORSE.gains)}
    there = InTargetDomain(BETTER, {"frozen_head": against("frozen", hits(60, 20))})
    assert judge(champion=EQUAL, baselines=at_home, target=there, policy=THERE).verdict == "PROMOTE"
    assert judge(baselines=at_home, target=there).verdict == "REJECT"


def test_without_rows_there_is_no_axis_unless_the_policy_wants_one() -> None:
    assert NAME not in [one.name for one in judge().axes]
    judged = judge(champion=EQUAL, policy=THERE)
    assert judged.verdict == "HOLD"
    assert "set evaluation.target_rows" in axis(judged, NAME).sentence


def test_the_policy_may_have_it_only_advise() -> None:
    judged = judge(target=InTargetDomain(MUCH), policy=Policy(effects=Effects(target_domain="advise")))
    assert (judged.verdict, axis(judged, NAME).outcome) == ("PROMOTE", "loss")
