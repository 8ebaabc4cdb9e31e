"""A model beside the teacher that it learned from: it has to be no worse, and need not be better."""

import pytest

from graftline.evaluation.bootstrap import Difference
from graftline.verdict.gate import TEACHER
from tests.graftline.verdict.test_gate import against, axis, judge

BESIDE = {"same": 0.95, "times_as_fast": 2.5, "times_as_small": 1.4}


@pytest.mark.parametrize(
    ("interval", "outcome", "consequence", "said"),
    [
        ((0.01, 0.03), "win", None, "better than its teacher"),
        ((-0.019, 0.01), "tie", None, "no worse by 0.02 than its teacher"),
        ((-0.03, 0.01), "unknown", "HOLD", "may be worse by more than 0.02 than its teacher"),
        ((-0.06, -0.03), "loss", "REJECT", "worse by more than 0.02 than its teacher"),
    ],
)
def test_a_pupil_passes_that_is_no_worse_by_the_wanted_difference(
    interval: tuple[float, float], outcome: str, consequence: str | None, said: str
) -> None:
    low, high = interval
    rival = against("its teacher", accuracy=Difference((low + high) / 2, low, high, 0.5))
    verdict = judge(champion=None, baselines={TEACHER: rival}, beside_teacher=BESIDE)
    found = axis(verdict, "teacher")
    assert (found.outcome, found.consequence) == (outcome, consequence)
    assert found.sentence.startswith(said)
    assert "the same answer to 95.0 % of the rows, 2.50 times as fast, 1.40 times as small" in found.sentence
    assert verdict.verdict == (consequence or "PROMOTE")


def test_a_teacher_is_no_baseline_that_is_to_be_beaten_and_without_one_nothing_is_told_of_it() -> None:
    rival = against("its teacher", accuracy=Difference(0.0, -0.01, 0.01, 1.0))
    with_one, without = judge(baselines={TEACHER: rival}), judge()
    assert [one for one in with_one.axes if one.name != "teacher"] == list(without.axes)
