"""The gate: numbers and policy in, verdict and reasons out."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftline.gate import Verdict, decide
from graftline.metrics import Score
from graftline.scoring import SCORING

BETTER, UNSURE, WORSE = Score(0.03, 0.01, 0.05), Score(0.01, -0.01, 0.03), Score(-0.03, -0.05, -0.01)
TOUCHING_FROM_ABOVE, TOUCHING_FROM_BELOW = Score(0.02, 0.0, 0.04), Score(-0.02, -0.04, 0.0)
SHARES = st.floats(0, 1)


def exactly(value: float) -> Score:
    return Score(value, value, value)


def judge(
    accuracy: float = 0.9,
    macro_f1: float = 0.9,
    *,
    difference: Score | None = BETTER,
    floor: float = 0.75,
    obstacles: Sequence[str] = (),
    majority: float = 0.5,
) -> Verdict:
    return decide(
        {"accuracy": exactly(accuracy), "macro_f1": exactly(macro_f1)},
        scoring=SCORING["single_label"],
        difference=difference,
        champion=None if difference is None else "reviews version 3",
        baseline=majority,
        floors={"accuracy": floor, "macro_f1": 0.6},
        obstacles=obstacles,
    )


@pytest.mark.parametrize(
    ("verdict", "expected", "reason"),
    [
        (judge(difference=None), "PROMOTE", "the first model"),
        (judge(difference=BETTER), "PROMOTE", "better than champion reviews version 3"),
        (judge(difference=UNSURE), "HOLD", "not enough evidence against champion reviews version 3"),
        (judge(difference=TOUCHING_FROM_ABOVE), "HOLD", "not enough evidence"),
        (judge(difference=TOUCHING_FROM_BELOW), "HOLD", "not enough evidence"),
        (judge(difference=WORSE), "REJECT", "worse than champion reviews version 3"),
        (judge(0.74), "REJECT", "accuracy 0.7400 is below its floor 0.7500"),
        (judge(0.75), "PROMOTE", "better"),
        (judge(macro_f1=0.59), "REJECT", "macro_f1 0.5900 is below its floor 0.6000"),
        (judge(0.74, difference=None), "REJECT", "below its floor"),
        (judge(0.8, majority=0.8), "REJECT", "does not beat the most frequent label"),
        (judge(0.8, majority=0.8, difference=None), "REJECT", "does not beat the most frequent label"),
        (judge(obstacles=["the data was modified"]), "HOLD", "the data was modified"),
        (judge(obstacles=["the data was modified"], difference=None), "HOLD", "the data was modified"),
        (judge(0.1, obstacles=["the data was modified"]), "REJECT", "below its floor"),
    ],
)
def test_the_verdict_follows_from_numbers_and_policy(verdict: Verdict, expected: str, reason: str) -> None:
    assert (verdict.verdict, reason in verdict.reasons[0]) == (expected, True)


def test_every_fault_is_named() -> None:
    assert len(judge(0.4, 0.1, difference=WORSE).reasons) == 4


def test_the_difference_stands_in_the_reason_with_its_interval() -> None:
    assert "+0.0300 on the same rows, 95 % interval +0.0100 to +0.0500" in judge().reasons[0]


@given(SHARES, SHARES, SHARES, SHARES, st.tuples(*[st.floats(-1, 1)] * 3).map(sorted), st.booleans(), st.booleans())
def test_nothing_is_promoted_past_a_missed_floor_or_without_evidence(
    accuracy: float, f1: float, floor: float, majority: float, ends: list[float], is_first: bool, is_barred: bool
) -> None:
    difference = None if is_first else Score(ends[1], ends[0], ends[2])
    obstacles = ["modified"] if is_barred else []
    verdict = judge(accuracy, f1, difference=difference, floor=floor, majority=majority, obstacles=obstacles)
    misses = accuracy < floor or f1 < 0.6 or accuracy <= majority or is_barred
    lacks_evidence = difference is not None and difference.low <= 0
    assert (verdict.verdict == "PROMOTE") == (not misses and not lacks_evidence)


@pytest.mark.parametrize(
    "verdict",
    [
        judge(math.nan),
        judge(macro_f1=math.nan),
        judge(difference=exactly(math.nan)),
        judge(majority=math.nan),
        judge(floor=math.nan),
    ],
)
def test_no_number_that_is_none_promotes_a_model(verdict: Verdict) -> None:
    assert verdict.verdict != "PROMOTE"


def test_a_regression_is_judged_by_its_own_primary_score() -> None:
    explained, difference = {"r2": exactly(0.4)}, Score(0.1, 0.05, 0.15)
    verdicts = [
        decide(
            explained, scoring=SCORING["regression"], difference=difference, champion="version 1", baseline=baseline,
            floors={"r2": floor}, obstacles=(),
        )
        for baseline, floor in ((-0.01, 0.3), (-0.01, 0.5), (0.4, 0.3))
    ]  # fmt: skip
    assert [(verdict.verdict, verdict.reasons[0].partition(", 95")[0]) for verdict in verdicts] == [
        ("PROMOTE", "better than champion version 1: r2 +0.1000 on the same rows"),
        ("REJECT", "r2 0.4000 is below its floor 0.5000"),
        ("REJECT", "r2 0.4000 does not beat the training mean's 0.4000"),
    ]
