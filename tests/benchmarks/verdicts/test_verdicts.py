"""The simulation of verdicts says of each retraining what the real comparison says, and writes what it found."""

import numpy as np
import pytest

from benchmarks.verdicts import models as verdicts
from benchmarks.verdicts.__main__ import TRUE_DIFFERENCES, simulate
from benchmarks.verdicts.models import ROWS, STRENGTHS, compare_all, held_out, logits
from benchmarks.verdicts.page import Judged, page, picture
from graftline.evaluation.comparison import Comparison, compare
from graftline.evaluation.metrics import Floats
from graftline.evaluation.single_label import SCORES
from graftline.verdict.policy import Policy


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "RESAMPLES", 200)


def probabilities(logit: Floats, targets: "np.typing.NDArray[np.int64]") -> Floats:
    right = 1 / (1 + np.exp(-logit))
    return np.where(np.eye(2)[targets] == 1, right[:, None], 1 - right[:, None])


def real(rows: verdicts.Rows, candidate: Floats, other: Floats, slices: bool) -> Comparison:
    parts = rows.slices if slices else ()
    return compare(SCORES, candidate, other, rows.targets, against="the champion", slices=parts, resamples=200, seed=5)


def test_all_comparisons_at_once_are_each_the_real_one() -> None:
    rows = held_out(ROWS, seed=5)
    candidate, champion = logits(rows, 0.02, 3, np.random.default_rng(0))
    for place, (beside_champion, beside_majority) in enumerate(compare_all(rows, candidate, champion)):
        ours, theirs = (probabilities(each[place], rows.targets) for each in (candidate, champion))
        expected = real(rows, ours, theirs, slices=True)
        assert (beside_champion.gains, list(beside_champion.slices)) == (expected.gains, list(expected.slices))
        for name in SCORES.scoring.better:
            found, wanted = beside_champion.differences[name], expected.differences[name]
            assert (found.value, found.low, found.high) == pytest.approx(
                (wanted.value, wanted.low, wanted.high), abs=2e-6
            )
            assert beside_champion.scores[name].value == pytest.approx(expected.scores[name].value, abs=2e-6)
        majority = real(rows, ours, np.tile([0.5, 0.5], (ROWS, 1)), slices=False)
        found, wanted = beside_majority.differences["accuracy"], majority.differences["accuracy"]
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high), abs=2e-6)


def test_simulated_models_are_right_and_discordant_as_often_as_the_real_ones() -> None:
    rows = held_out(ROWS, seed=0)
    candidate, champion = logits(rows, 0.0, 100, np.random.default_rng(0))
    for place, kind in enumerate(STRENGTHS):
        those = rows.strength == place
        ours, theirs = candidate[:, those] > 0, champion[:, those] > 0
        assert those.mean() == pytest.approx(kind.share, abs=0.001)
        assert ours.mean() == pytest.approx(kind.accuracy, abs=0.005)
        assert (ours != theirs).mean() == pytest.approx(kind.discordance, abs=0.005)


def test_an_improvement_is_the_same_in_every_strength() -> None:
    rows = held_out(ROWS, seed=0)
    candidate, champion = logits(rows, 0.03, 200, np.random.default_rng(0))
    for place in range(len(STRENGTHS)):
        those = rows.strength == place
        gained = (candidate[:, those] > 0).mean() - (champion[:, those] > 0).mean()
        assert gained == pytest.approx(0.03, abs=0.004)


def test_a_large_improvement_is_promoted_and_none_is_not() -> None:
    rows, policy = held_out(ROWS, seed=0), Policy()
    better, same = (simulate(rows, truth, 20, seed=0, policy=policy) for truth in (0.05, 0.0))
    assert better.promoted >= 19
    assert same.promoted <= 2
    assert better.larger == 20
    assert 5 <= same.larger <= 15


def test_the_page_tells_the_shares_and_the_picture_is_one() -> None:
    policy, judged = Policy(), list[Judged]()
    for count in (400, 500):
        rows = held_out(count, seed=0)
        judged += [simulate(rows, truth, 4, seed=0, policy=policy) for truth in TRUE_DIFFERENCES]
    text = page(judged, policy, "two models")
    share = 100 * judged[1].promoted / 4
    assert f"**Nothing is better**: {share:.1f} % of 4 retrainings on 400 held-out rows" in text
    assert "(two models;" in text
    assert text.count("\n| 400 |") == text.count("\n| 500 |") == len(TRUE_DIFFERENCES)
    (axes,) = picture(judged, policy).axes
    assert len(axes.get_legend_handles_labels()[0]) == 4
