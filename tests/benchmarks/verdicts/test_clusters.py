"""Simulated rows in groups: they go along, the gate judges them by group, and the page says what was counted."""

import numpy as np
import pytest

from benchmarks.verdicts import models as verdicts
from benchmarks.verdicts.clusters import Errors, Found, Share, errors_of_few_groups, promoted
from benchmarks.verdicts.clusters_page import page, picture
from benchmarks.verdicts.models import MIXED, STRENGTHS, compare_all, gained, gains_of, held_out, logits, normal
from graftline.evaluation.comparison import compare
from graftline.evaluation.single_label import SCORES
from graftline.verdict.policy import Policy
from tests.benchmarks.verdicts.test_verdicts import probabilities


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "RESAMPLES", 200)


def test_in_groups_all_comparisons_at_once_are_each_the_real_one() -> None:
    rows = held_out(400, seed=5, sizes=MIXED)
    candidate, champion = logits(rows, 0.02, 2, np.random.default_rng(0))
    for place, (found, _) in enumerate(compare_all(rows, candidate, champion)):
        ours, theirs = (probabilities(each[place], rows.targets) for each in (candidate, champion))
        expected = compare(
            SCORES, ours, theirs, rows.targets, against="the champion", slices=rows.slices, resamples=200, seed=5,
            groups=rows.groups,
        )  # fmt: skip
        assert (found.gains, list(found.slices)) == (expected.gains, list(expected.slices))
        assert gains_of(rows, candidate[place], champion[place]) == expected.gains
        for name in SCORES.scoring.better:
            seen, wanted = found.differences[name], expected.differences[name]
            assert (seen.value, seen.low, seen.high) == pytest.approx((wanted.value, wanted.low, wanted.high), abs=3e-6)


def test_groups_change_no_row_by_itself_but_the_rows_of_one_go_along() -> None:
    rows = held_out(600, seed=0, sizes=(20,))
    candidate, champion = logits(rows, 0.0, 200, np.random.default_rng(0))
    for place, kind in enumerate(STRENGTHS):
        those = rows.strength == place
        assert (candidate[:, those] > 0).mean() == pytest.approx(kind.accuracy, abs=0.01)
    seen = np.mean([gains_of(rows, *pair).design_effect for pair in zip(candidate, champion, strict=True)])
    assert seen > 1.3
    assert len(gained(rows, candidate[0], champion[0])) == 30
    assert len(gained(held_out(600, seed=0, sizes=(20,), by_row=True), candidate[0], champion[0])) == 600
    alone = held_out(600, seed=0)
    assert normal(alone, 1, np.random.default_rng(1)).tolist() == [
        np.random.default_rng(1).standard_normal(600).tolist()
    ]


def test_by_group_the_gate_errs_as_rarely_as_it_says_and_by_row_more_often() -> None:
    shares = {
        by_row: promoted(held_out(800, seed=0, sizes=(80,), by_row=by_row), 0.0, 500, seed=0, policy=Policy())
        for by_row in (False, True)
    }
    assert shares[False].promoted <= 0.05 * 500
    assert shares[True].promoted > 2 * 0.025 * 500


def test_the_tests_alone_keep_small_levels_of_few_groups() -> None:
    for found in errors_of_few_groups(750, seed=1):
        assert found.by_group[0] <= 0.025 + 0.012
        assert found.by_group[2] <= 0.005
        assert found.by_row[0] > found.by_group[0]


def test_the_page_tells_the_shares_and_the_picture_is_one() -> None:
    by_row = {False: Share(2, 100), True: Share(9, 100)}
    one = Found("20", 81, 1610, 1.79, by_row, {False: Share(55, 100), True: Share(75, 100)}, 3842, Share(83, 100))
    text = page([one], [Errors("10", (0.01, 0.001, 0.0), (0.05, 0.02, 0.01))], [], Policy())
    assert "| 20 | 81 | 1.79 | **2.0 %** (0.2 to 7.0) | 9.0 % |" in text
    assert "| 20 | 55 % | 75 % | 3,842 | 83 % |" in text
    assert "| 10 | 0.0100 | 0.0500 | 0.0010 | 0.0200 | 0.0000 | 0.0100 |" in text
    (axes,) = picture([one], Policy()).axes
    assert len(axes.patches) == 2
