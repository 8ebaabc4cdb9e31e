"""The verdict on rows in groups: by the groups' sums, held where they are few, and told with their number."""

from dataclasses import replace

import numpy as np
import pytest

from graftline.evaluation import single_label
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.comparison import SliceGains
from graftline.evaluation.groups import LEAST_GROUPS
from graftline.evaluation.metrics import Floats
from graftline.evaluation.paired_tests import Gains, gains
from graftline.verdict.gate import Evaluated, Verdict, decide
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy
from tests.graftline.verdict.test_gate import BETTER, MAJORITY, SCORES, against, axis, exactly, hits

SIZE = 20


def in_groups(sums: list[int], size: int = SIZE) -> Gains:
    """Gains on groups of this size that have these sums, each on as many rows as it is large."""
    rows: list[Floats] = [np.sign(one) * (np.arange(size) < abs(one)).astype(float) for one in sums]
    each = np.concatenate(rows)
    return gains(each, np.zeros(len(each)), hits=True, groups=np.repeat(np.arange(len(sums)), size))


def judge(seen: Gains, *, allowed: Allowance | None = None, slices: tuple[SliceGains, ...] = ()) -> Verdict:
    reach = 0.01
    own = Difference(seen.mean, seen.mean - reach, seen.mean + reach, 0.01)
    champion = replace(against(seen=seen), differences={**against().differences, "accuracy": own}, slices=slices)
    groups = seen.grouped.groups if seen.grouped else None
    return decide(
        Evaluated(single_label.SCORES.scoring, dict.fromkeys(SCORES, exactly(0.9)), groups=groups),
        champion,
        baselines={"majority": MAJORITY},
        policy=Policy(),
        allowed=allowed,
    )


SPREAD_OUT = [1] * 30 + [0] * 20
IN_FEW = [10, 10, 10] + [0] * 47


def test_a_gain_that_many_groups_share_is_promoted_and_the_reason_says_how_many() -> None:
    verdict = judge(in_groups(SPREAD_OUT))
    assert verdict.verdict == "PROMOTE"
    assert verdict.reasons == (
        "better than champion version 3: accuracy +0.0300 on the same rows, 95 % interval +0.0200 to +0.0400, exact"
        " sign flips of the sums of 50 groups p 1.86e-09 (30 rows better, 0 worse; 30 groups better, 0 worse)",
    )
    assert axis(verdict, "test rows").sentence == ("nothing was chosen by the held-out rows; they are of 50 groups")
    counted = axis(verdict, "champion").numbers
    assert counted is not None
    assert (counted["groups"], counted["groups_better"], counted["groups_worse"]) == (50, 30, 0)


def test_as_many_rows_of_three_groups_are_held_and_more_groups_asked_for() -> None:
    verdict = judge(in_groups(IN_FEW))
    assert verdict.verdict == "HOLD"
    assert "(30 rows better, 0 worse; 3 groups better, 0 worse)" in verdict.reasons[0]
    assert (
        "more groups needed: 3 in which the two differ can show no p below 0.25, and a level of 0.05 takes 6"
        in (verdict.reasons[0])
    )
    assert judge(in_groups(IN_FEW, size=10)).verdict == "HOLD"


def test_at_the_level_of_rows_that_were_looked_at_often_more_groups_must_differ() -> None:
    sums, often = [2] * 12 + [0] * 20, Allowance(1e-4, 0.5, 100)
    assert judge(in_groups(sums)).verdict == "PROMOTE"
    held = judge(in_groups(sums), allowed=often)
    assert held.verdict == "HOLD"
    assert "a level of 0.0001 takes 15" in held.reasons[0]
    assert judge(in_groups([2] * 16 + [0] * 20), allowed=often).verdict == "PROMOTE"


@pytest.mark.parametrize(("groups", "verdict"), [(LEAST_GROUPS - 1, "HOLD"), (LEAST_GROUPS, "PROMOTE")])
def test_of_too_few_groups_nothing_is_promoted(groups: int, verdict: str) -> None:
    found = judge(in_groups([3] * groups, size=100))
    assert found.verdict == verdict
    if verdict == "HOLD":
        assert f"more groups needed: the held-out rows are of only {groups} groups (data.group)" in found.reasons[0]
    else:
        assert "10 groups, which is few" in axis(found, "test rows").sentence


def test_not_even_a_first_model_is_promoted_on_too_few_groups() -> None:
    for groups, verdict in ((5, "HOLD"), (50, "PROMOTE"), (None, "PROMOTE")):
        seen = Evaluated(single_label.SCORES.scoring, dict.fromkeys(SCORES, exactly(0.9)), groups=groups)
        assert decide(seen, None, baselines={"majority": MAJORITY}, policy=Policy()).verdict == verdict


def test_who_is_held_learns_how_many_rows_of_how_many_groups_would_be_enough() -> None:
    alike, apart = ([6, -6] * 4 + [0] * 42, [1, -1] * 24 + [0, 0])
    told = []
    for sums in (alike, apart):
        verdict = judge(in_groups(sums))
        enough = verdict.rows_enough
        assert enough is not None
        assert (
            f"{enough:,} held-out rows of {-(-enough // SIZE):,} groups such as these would be enough"
            in (verdict.reasons[-1])
        )
        assert "these are 1,000 of 50 groups" in verdict.reasons[-1]
        assert "1,000 rows of 50 groups show 0." in verdict.reasons[0]
        told.append(enough)
    assert told[0] > 4 * told[1]


def test_a_slice_is_judged_by_its_groups_and_one_of_too_few_is_not() -> None:
    lost = in_groups([-10, -10, -10] + [0] * 12)
    by_row = replace(lost, grouped=None)
    few = in_groups([-3] * 9, size=40)
    outcomes = []
    for part in (by_row, lost, few):
        found = axis(judge(in_groups(SPREAD_OUT), slices=(SliceGains("source", "a", part),)), "slices")
        outcomes.append((found.outcome, found.parts[0].outcome, found.consequence))
    assert outcomes[0] == ("loss", "loss", "REJECT")
    assert outcomes[1] == ("unknown", "unknown", "HOLD")
    assert outcomes[2][1:] == ("unknown", None)


def test_without_groups_nothing_is_said_of_them() -> None:
    found = judge(hits(60, 20))
    assert not any("groups" in name for one in found.axes for name in one.numbers or ())
    assert not any("groups" in axis(found, name).sentence for name in ("champion", "test rows", "slices"))
    assert found.reasons == judge(BETTER.gains).reasons
