"""The gate: numbers and policy in, verdict, reasons and a table of axes out."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Behaviour, Counted
from graftline.behaviour.retention import Retention
from graftline.evaluation import regression as numbers
from graftline.evaluation import single_label
from graftline.evaluation.bootstrap import Difference, Score
from graftline.evaluation.comparison import Comparison, SliceGains
from graftline.evaluation.paired_tests import Gains
from graftline.verdict.axis import Axis
from graftline.verdict.gate import Evaluated, Unscored, Verdict, decide
from graftline.verdict.policy import (
    Bias,
    Effects,
    Floors,
    Limits,
    Margins,
    NegativeTransfer,
    Policy,
    RetentionLimits,
    Robustness,
)

SCORES = ("accuracy", "macro_f1", "log_loss", "calibration_error")
POLICY = Policy(floors=Floors(accuracy=0.75, macro_f1=0.6))
SHARES = st.floats(0, 1)


def exactly(value: float) -> Score:
    return Score(value, value, value)


def hits(better: int, worse: int, rows: int = 1000) -> Gains:
    return Gains(rows, (better - worse) / rows, math.sqrt((better + worse) / rows), better, worse, hits=True)


def against(
    name: str = "champion version 3",
    seen: Gains | None = None,
    *,
    slices: Sequence[SliceGains] = (),
    theirs: float = 0.85,
    **differences: Difference,
) -> Comparison:
    """A comparison whose intervals are those of the normal law, where none is given."""
    seen = seen or hits(60, 20)
    reach = 1.96 * math.sqrt(max(seen.discordance, 1e-9) / seen.rows)
    own = Difference(seen.mean, seen.mean - reach, seen.mean + reach, 0.5)
    unchanged = {name: Difference(0.0, -0.01, 0.01, 1.0) for name in SCORES}
    return Comparison(
        name, dict.fromkeys(SCORES, exactly(theirs)), {**unchanged, "accuracy": own, **differences}, seen, slices
    )


BETTER, UNSURE, WORSE = against(), against(seen=hits(44, 36)), against(seen=hits(20, 60))
MAJORITY = against("the most frequent label", hits(400, 50), theirs=0.5)


def judge(
    accuracy: float = 0.9,
    macro_f1: float = 0.9,
    *,
    champion: Comparison | Unscored | None = BETTER,
    baselines: Mapping[str, Comparison] | None = None,
    policy: Policy = POLICY,
    **facts: Any,
) -> Verdict:
    scores = {**dict.fromkeys(SCORES, exactly(0.1)), "accuracy": exactly(accuracy), "macro_f1": exactly(macro_f1)}
    free = {"majority": MAJORITY}
    return decide(
        Evaluated(single_label.SCORES.scoring, scores, **facts),
        champion,
        baselines={**free, **(baselines or {})},
        policy=policy,
    )


def retained(better: int, worse: int, *, unchanged: bool = False) -> Retention:
    """What is left of the source task on 1000 judged rows."""
    seen = against("the frozen base model", hits(better, worse))
    after = exactly(0.85 + seen.gains.mean)
    return Retention(2, 800, seen.scores["accuracy"], after, seen.differences["accuracy"], seen.gains, unchanged)


def axis(verdict: Verdict, name: str) -> Axis:
    return next(axis for axis in verdict.axes if axis.name == name)


def test_only_floors_that_were_set_are_spoken_of() -> None:
    one = judge(policy=Policy(floors=Floors(accuracy=0.75)))
    assert axis(one, "floors").sentence == "accuracy 0.9000 reaches its floor 0.7500"
    assert axis(judge(policy=Policy()), "floors").sentence == "the policy sets no floor"


@pytest.mark.parametrize(
    ("verdict", "expected", "reason"),
    [
        (judge(champion=None), "PROMOTE", "the first model"),
        (judge(), "PROMOTE", "better than champion version 3"),
        (judge(champion=UNSURE), "HOLD", "not enough evidence against champion version 3"),
        (judge(champion=WORSE), "REJECT", "worse than champion version 3"),
        (judge(champion=Unscored("champion version 3 could not be scored")), "HOLD", "could not be scored"),
        (judge(0.74), "REJECT", "accuracy 0.7400 is below its floor 0.7500"),
        (judge(0.75), "PROMOTE", "better"),
        (judge(macro_f1=0.59), "REJECT", "macro_f1 0.5900 is below its floor 0.6000"),
        (judge(0.74, champion=None), "REJECT", "below its floor"),
        (judge(barred="the data were modified"), "HOLD", "the data were modified"),
        (judge(barred="the data were modified", champion=None), "HOLD", "the data were modified"),
        (judge(0.1, barred="the data were modified"), "REJECT", "below its floor"),
        (judge(unfair=["the split changed"]), "HOLD", "the split changed"),
        (judge(baselines={"majority": against("the most frequent label", hits(50, 50))}), "REJECT",
         "does not beat the most frequent label (0.8500)"),
        (judge(baselines={"tfidf": against("TF-IDF", hits(44, 36))}), "HOLD", "not shown to be better than TF-IDF"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_numbers_and_policy(verdict: Verdict, expected: str, reason: str) -> None:
    assert (verdict.verdict, reason in verdict.reasons[0]) == (expected, True)


def test_every_fault_is_named() -> None:
    reasons = judge(0.4, 0.1, champion=WORSE, baselines={"majority": against("nothing", hits(0, 0))}).reasons
    assert len(reasons) == 3
    assert "accuracy 0.4000 is below" in reasons[0]
    assert "macro_f1 0.1000 is below" in reasons[0]


def test_the_difference_stands_in_the_reason_with_interval_test_and_rows() -> None:
    assert judge().reasons == (
        "better than champion version 3: accuracy +0.0400 on the same rows, 95 % interval +0.0225 to +0.0575, exact"
        " McNemar p 8.58e-06 (60 rows better, 20 worse)",
    )


def test_an_interval_above_zero_that_mcnemar_does_not_agree_with_is_not_enough() -> None:
    # p is 0.0625: five discordant rows can show nothing at 5 %, however they fall.
    few = against(seen=hits(5, 0), accuracy=Difference(0.005, 0.001, 0.01, 0.01))
    assert judge(champion=few).verdict == "HOLD"


def test_mcnemar_alone_is_not_enough_either() -> None:
    unsure = against(seen=hits(60, 20), accuracy=Difference(0.04, -0.001, 0.08, 0.06))
    assert judge(champion=unsure).verdict == "HOLD"


def test_who_is_held_learns_how_many_rows_would_be_enough() -> None:
    verdict = judge(champion=against(seen=hits(36, 34)))
    counted = axis(verdict, "champion").numbers
    assert counted is not None
    assert verdict.rows_enough == counted["rows_enough"] == 1899
    assert verdict.reasons[1] == (
        "1,899 held-out rows would be enough to show a difference of 0.02 four times out of five, these are 1,000"
    )
    assert "1,000 rows show 0.0241 and more four times out of five" in verdict.reasons[0]


def test_who_is_held_although_the_rows_are_enough_is_told_to_be_better() -> None:
    verdict = judge(champion=against(seen=hits(310, 290, rows=10_000)))
    assert "more rows do not" in verdict.reasons[1]


def test_a_score_beside_the_main_one_may_not_get_worse_by_more_than_its_margin() -> None:
    def with_loss(low: float, high: float) -> Verdict:
        return judge(champion=against(log_loss=Difference((low + high) / 2, low, high, 0.01)))

    # A tenth of the champion's 0.85 may be lost, and a lower loss is better.
    found = [with_loss(*ends) for ends in ((-0.2, -0.1), (-0.05, 0.08), (-0.05, 0.09), (0.05, 0.15), (0.09, 0.2))]
    assert [verdict.verdict for verdict in found] == ["PROMOTE", "PROMOTE", "HOLD", "HOLD", "REJECT"]
    parts = [{part.name: part.outcome for part in axis(verdict, "other scores").parts} for verdict in found]
    assert [part["log_loss"] for part in parts] == ["win", "tie", "unknown", "unknown", "loss"]
    assert "log_loss worse by more than 0.0850" in found[-1].reasons[0]


def sliced(*parts: tuple[str, Gains]) -> Comparison:
    return against(slices=[SliceGains("source", value, seen) for value, seen in parts])


def test_a_slice_that_was_shown_to_lose_more_than_the_margin_rejects() -> None:
    verdict = judge(champion=sliced(("a", hits(30, 10, 500)), ("b", hits(10, 80, 500))))
    assert verdict.verdict == "REJECT"
    assert "source b worse by more than 0.05: -0.1400 on 500 rows (10 better, 80 worse)" in verdict.reasons[0]


def test_a_slice_that_may_have_lost_more_than_the_margin_holds() -> None:
    verdict = judge(champion=sliced(("a", hits(30, 10, 500)), ("b", hits(10, 30, 500))))
    assert verdict.verdict == "HOLD"
    assert "source b may be worse by more than 0.05" in verdict.reasons[0]


def test_a_slice_too_small_to_judge_is_shown_and_has_no_consequence() -> None:
    verdict = judge(champion=sliced(("a", hits(30, 10, 500)), ("b", hits(0, 80, 199))))
    assert verdict.verdict == "PROMOTE"
    small = axis(verdict, "slices").parts[1]
    assert (small.outcome, small.numbers["p"]) == ("unknown", None)
    assert "too few rows to judge, expected 200 or more" in small.sentence
    assert "1 too small to judge" in axis(verdict, "slices").sentence


def test_the_more_slices_are_looked_at_the_more_it_takes_to_say_something_about_one() -> None:
    seen = hits(10, 10, 220)
    alone, among = sliced(("a", seen)), sliced(*[(str(number), seen) for number in range(8)])
    assert [judge(champion=rival).verdict for rival in (alone, among)] == ["PROMOTE", "HOLD"]


@pytest.mark.parametrize("name", ["scratch", "frozen_head"])
@pytest.mark.parametrize(
    ("seen", "expected", "words"),
    [(hits(60, 20), "PROMOTE", ""), (hits(44, 36), "HOLD", "not shown to be better than"),
     (hits(30, 30), "REJECT", "does not beat"), (hits(20, 60), "REJECT", "does not beat")],
)  # fmt: skip
def test_an_adaptation_without_worth_is_not_promoted(name: str, seen: Gains, expected: str, words: str) -> None:
    verdict = judge(baselines={name: against("another training", seen)})
    assert verdict.verdict == expected
    assert axis(verdict, "negative transfer").outcome == {"PROMOTE": "win", "HOLD": "tie", "REJECT": "loss"}[expected]
    assert words in verdict.reasons[0]


def test_what_transfer_has_to_be_worth_is_a_matter_of_policy() -> None:
    policy = Policy(baselines=("scratch",), negative_transfer=NegativeTransfer(scratch=0.03))
    assert judge(baselines={"scratch": against("training from scratch")}, policy=policy).verdict == "HOLD"


def test_without_those_baselines_transfer_is_unknown_and_has_no_consequence() -> None:
    found = axis(judge(), "negative transfer")
    assert (found.outcome, found.consequence) == ("unknown", None)


@pytest.mark.parametrize(("left_out", "name"), [("scratch", "negative transfer"), ("tfidf", "baseline")])
def test_a_baseline_that_was_left_out_is_unknown_and_said_beside_the_others(left_out: str, name: str) -> None:
    rivals = {"frozen_head": against("the frozen base model")}
    verdict = judge(baselines=rivals, left_out={left_out: "it takes too long"})
    found = axis(verdict, name)
    assert (verdict.verdict, found.outcome, found.consequence) == ("PROMOTE", "unknown", None)
    assert f"not compared with {left_out}: it takes too long" in found.sentence
    assert [part.outcome for part in found.parts] == ["win", "unknown"]


def test_what_was_left_out_hides_no_loss() -> None:
    lost = {"frozen_head": against("the frozen base model", hits(20, 60))}
    verdict = judge(baselines=lost, left_out={"scratch": "it takes too long"})
    assert verdict.verdict == "REJECT"
    assert verdict.reasons[0].startswith("negative transfer: does not beat the frozen base model (0.8500)")


def test_with_nothing_compared_the_reasons_are_said() -> None:
    found = axis(judge(left_out={"scratch": "it takes too long", "frozen_head": "no room"}), "negative transfer")
    assert found.sentence == "not compared with scratch: it takes too long; not compared with frozen head: no room"
    assert (found.outcome, found.consequence) == ("unknown", None)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [({"p95_milliseconds": 20.0}, "PROMOTE"), ({"p95_milliseconds": 60.0}, "REJECT"), ({}, "HOLD"), (None, "HOLD")],
)
def test_a_limit_must_be_measured_and_kept(measured: Mapping[str, float] | None, expected: str) -> None:
    assert judge(policy=Policy(limits=Limits(p95_milliseconds=50)), serving=measured).verdict == expected


FAULTY = Behaviour(
    changes=[Counted("typos", 200, 50, 0.2, 0.3)],
    disparities=[Disparity("sex", "selection rate", 400, 0.5, "f", 0.1, Difference(0.4, 0.3, 0.5, 0.01))],
    retention=retained(0, 200),
)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("other_scores", {"champion": against(log_loss=Difference(0.5, 0.4, 0.6, 0.01))}),
        ("slices", {"champion": sliced(("b", hits(10, 80, 500)))}),
        ("baseline", {"baselines": {"majority": against("nothing", hits(0, 9))}}),
        ("negative_transfer", {"baselines": {"scratch": against("scratch", hits(0, 9))}}),
        ("serving", {"policy": Policy(limits=Limits(memory_megabytes=1)), "serving": {"memory_megabytes": 2.0}}),
        ("hostile_requests", {"hostile": {"null": "no answer"}}),
        ("robustness", {"policy": Policy(robustness=Robustness(unchanged=0.9)), "behaviour": FAULTY}),
        ("bias", {"policy": Policy(bias=Bias(amplification=0.1)), "behaviour": FAULTY}),
        ("retention", {"policy": Policy(retention=RetentionLimits(forgotten=0.02)), "behaviour": FAULTY}),
    ],
)
def test_an_axis_that_only_advises_says_the_same_and_has_no_consequence(name: str, lost: dict[str, Any]) -> None:
    blocking = judge(**lost)
    policy = lost.get("policy", POLICY).model_copy(update={"effects": Effects.model_validate({name: "advise"})})
    advising = judge(**{**lost, "policy": policy})
    assert (blocking.verdict, advising.verdict) == ("REJECT", "PROMOTE")
    first, second = (axis(verdict, name.replace("_", " ")) for verdict in (blocking, advising))
    assert (second.sentence, second.outcome, second.blocks) == (first.sentence, first.outcome, False)


RETAIN = Policy(retention=RetentionLimits(forgotten=0.02))


@pytest.mark.parametrize(
    ("seen", "outcome", "verdict"),
    [
        (retained(60, 20), "win", "PROMOTE"),
        (retained(20, 20), "tie", "PROMOTE"),
        (retained(0, 0), "tie", "PROMOTE"),
        (retained(20, 35), "unknown", "HOLD"),
        (retained(5, 60), "loss", "REJECT"),
        (retained(0, 0, unchanged=True), "tie", "PROMOTE"),
        (None, "unknown", "HOLD"),
    ],
)
def test_no_more_of_the_source_task_may_be_forgotten_than_the_margin(
    seen: Retention | None, outcome: str, verdict: str
) -> None:
    judged = judge(policy=RETAIN, behaviour=Behaviour(retention=seen))
    assert (axis(judged, "retention").outcome, judged.verdict) == (outcome, verdict)


def test_unchanged_vectors_forgot_nothing_however_few_the_probe_rows() -> None:
    few = dataclasses.replace(retained(0, 0), gains=hits(0, 0, 30))
    assert judge(policy=RETAIN, behaviour=Behaviour(retention=few)).verdict == "HOLD"
    unchanged = dataclasses.replace(few, unchanged=True)
    assert judge(policy=RETAIN, behaviour=Behaviour(retention=unchanged)).verdict == "PROMOTE"


def test_without_a_margin_what_was_forgotten_is_told_and_decides_nothing() -> None:
    for behaviour in (Behaviour(retention=retained(5, 60)), Behaviour(), None):
        found = axis(judge(behaviour=behaviour), "retention")
        assert (found.outcome, found.consequence) == ("unknown", None)
    told = axis(judge(behaviour=Behaviour(retention=retained(5, 60))), "retention")
    assert "0.7950 of 1,000 rows, 0.8500 on the frozen base model (-0.0550, 95 % interval" in told.sentence


def test_what_is_open_for_want_of_probe_rows_asks_for_them_and_for_no_held_out_rows() -> None:
    held = judge(policy=RETAIN, behaviour=Behaviour(retention=retained(20, 35)))
    (reason,) = held.reasons
    numbers = axis(held, "retention").numbers
    assert numbers is not None
    assert f"about {numbers['probe_rows_enough']:,} judged rows show it" in reason
    assert held.rows_enough == judge().rows_enough


@settings(deadline=None)  # the first row count of its kind is computed, the others are remembered
@given(
    accuracy=SHARES, f1=SHARES, floor=SHARES, better=st.integers(0, 150), worse=st.integers(0, 150),
    is_first=st.booleans(), is_barred=st.booleans(), lost=st.integers(0, 500),
)  # fmt: skip
def test_nothing_is_promoted_past_a_missed_floor_or_without_evidence(
    accuracy: float, f1: float, floor: float, better: int, worse: int, is_first: bool, is_barred: bool, lost: int
) -> None:
    rival = None if is_first else against(seen=hits(better, worse), slices=[SliceGains("a", "b", hits(0, lost, 500))])
    policy = Policy(floors=Floors(accuracy=floor, macro_f1=0.6))
    verdict = judge(accuracy, f1, champion=rival, policy=policy, barred="modified" if is_barred else None)
    misses = accuracy < floor or f1 < 0.6 or is_barred
    if verdict.verdict == "PROMOTE":
        assert not misses
        assert is_first or better > worse
        assert is_first or lost / 500 < policy.slice_margin
    assert (verdict.verdict == "PROMOTE") == all(axis.consequence is None for axis in verdict.axes)


@pytest.mark.parametrize(
    "verdict",
    [
        judge(math.nan),
        judge(macro_f1=math.nan),
        judge(champion=against(accuracy=Difference(math.nan, math.nan, math.nan, math.nan))),
        judge(champion=against(log_loss=Difference(math.nan, math.nan, math.nan, math.nan))),
        judge(baselines={"majority": against(accuracy=Difference(math.nan, math.nan, math.nan, math.nan))}),
        judge(baselines={"scratch": against(accuracy=Difference(math.nan, math.nan, math.nan, math.nan))}),
        judge(policy=Policy(limits=Limits(memory_megabytes=1)), serving={"memory_megabytes": math.nan}),
    ],
)
def test_no_number_that_is_none_promotes_a_model(verdict: Verdict) -> None:
    assert verdict.verdict != "PROMOTE"


def regression(
    r2: Difference, slices: Sequence[SliceGains] = (), explained: float = 0.4, floor: float = 0.3
) -> Verdict:
    scores = {"r2": exactly(explained), "mean_absolute_error": exactly(1.0), "root_mean_squared_error": exactly(1.0)}
    same = Difference(0.0, -0.01, 0.01, 1.0)
    seen = Gains(500, r2.value, 1.0, 300, 200, hits=False)
    rival = Comparison("version 1", scores, {**dict.fromkeys(scores, same), "r2": r2}, seen, slices)
    policy = Policy(floors=Floors(r2=floor))
    return decide(Evaluated(numbers.SCORES.scoring, scores), rival, baselines={}, policy=policy)


def test_a_regression_is_judged_by_the_paired_bootstrap_of_its_own_primary_score() -> None:
    verdicts = [
        regression(Difference(0.1, 0.05, 0.15, 0.002)),
        regression(Difference(0.1, -0.05, 0.25, 0.2)),
        regression(Difference(-0.1, -0.15, -0.05, 0.002)),
        regression(Difference(0.1, 0.05, 0.15, 0.002), floor=0.5),
    ]
    assert [verdict.verdict for verdict in verdicts] == ["PROMOTE", "HOLD", "REJECT", "REJECT"]
    assert verdicts[0].reasons[0].endswith("+0.0500 to +0.1500, paired bootstrap p 0.002")
    # With an interval of 0.3 and 500 rows, 0.02 take (0.0765 * 3.24 / 0.02)² times as many.
    assert verdicts[1].rows_enough == pytest.approx(500 * (0.0765 * 3.2415 / 0.02) ** 2, rel=0.001)


def test_slices_of_numbers_are_judged_by_their_mean_gain() -> None:
    slices = [SliceGains("source", "a", Gains(400, -0.2, 0.5, 100, 300, hits=False))]
    assert regression(Difference(0.1, 0.05, 0.15, 0.002), slices).verdict == "REJECT"


def test_a_verdict_is_plain_values_with_every_axis_and_number() -> None:
    plain: Any = json.loads(json.dumps(judge(champion=sliced(("a", hits(30, 10, 500)))).as_json()))
    assert [axis["name"] for axis in plain["axes"]] == [
        "floors", "champion", "other scores", "slices", "baseline", "negative transfer", "serving", "hostile requests",
        "robustness", "bias", "retention", "test rows", "data version",
    ]  # fmt: skip
    assert plain["axes"][3]["parts"][0]["numbers"]["better"] == 30


def test_the_same_numbers_have_the_same_verdict_in_whatever_order_slices_come() -> None:
    parts = [SliceGains("source", str(number), hits(20 + number, 18, 400)) for number in range(5)]
    one, other = (judge(champion=dataclasses.replace(BETTER, slices=order)) for order in (parts, parts[::-1]))
    assert (one.verdict, one.rows_enough) == (other.verdict, other.rows_enough)
    assert {part.name: part for part in axis(one, "slices").parts} == {
        part.name: part for part in axis(other, "slices").parts
    }


def test_a_margin_of_nothing_asks_for_no_loss_at_all() -> None:
    policy = Policy(margins=Margins(macro_f1=0))
    assert judge(policy=policy).verdict == "HOLD"
    assert judge(policy=policy, champion=against(macro_f1=Difference(0.02, 0.0, 0.04, 0.05))).verdict == "PROMOTE"
