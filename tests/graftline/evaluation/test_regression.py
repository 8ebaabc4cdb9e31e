"""Scores of predicted numbers, against scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import bootstrap
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from graftline.errors import GraftlineError
from graftline.evaluation.bootstrap import differences, scores
from graftline.evaluation.metrics import Floats
from graftline.evaluation.regression import metrics_of_numbers

REFERENCES = {
    "r2": r2_score,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}


@st.composite
def predicted_rows(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Predictions and targets of 2 to 40 rows, which are whole numbers so that equal ones occur."""
    rows = draw(st.integers(2, 40))
    numbers = arrays.arrays(np.float64, (rows, 1), elements=st.integers(-50, 50).map(float))
    return draw(numbers), draw(numbers)


def drawn(rows: int = 200) -> tuple[Floats, Floats]:
    random = np.random.default_rng(0)
    targets = random.normal(10, 3, (rows, 1))
    return targets + random.normal(0, 1, (rows, 1)), targets


def whole(predictions: Floats, targets: Floats, name: str) -> float:
    return float(metrics_of_numbers(predictions, targets)[name](np.ones((1, len(targets))))[0])


@given(predicted_rows(), st.sampled_from(sorted(REFERENCES)))
def test_each_score_is_that_of_scikit_learn(rows: tuple[Floats, Floats], name: str) -> None:
    predictions, targets = rows
    assert whole(predictions, targets, name) == pytest.approx(REFERENCES[name](targets, predictions))


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -3.0])
def test_equal_targets_explain_nothing(value: float) -> None:
    targets = np.full((7, 1), value)
    assert whole(targets + 1, targets, "r2") == 0.0
    assert whole(targets.copy(), targets, "r2") == 1.0


def test_small_differences_between_large_numbers_count() -> None:
    predictions, targets = drawn()
    assert whole(predictions + 1e7, targets + 1e7, "r2") == pytest.approx(r2_score(targets, predictions), abs=1e-6)


@settings(max_examples=30)
@given(predicted_rows(), st.integers(0, 100))
def test_a_metric_of_counts_is_the_metric_of_repeated_rows(rows: tuple[Floats, Floats], seed: int) -> None:
    predictions, targets = rows
    counts = np.random.default_rng(seed).integers(0, 3, len(targets))
    counts[:2] += 1
    repeated = metrics_of_numbers(np.repeat(predictions, counts, axis=0), np.repeat(targets, counts, axis=0))
    for name, metric in metrics_of_numbers(predictions, targets).items():
        of_repeated = repeated[name](np.ones((1, int(counts.sum()))))
        assert metric(counts[None].astype(float)) == pytest.approx(of_repeated, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_interval_is_that_of_scipys_paired_percentile_bootstrap(name: str) -> None:
    predictions, targets = drawn()
    ours = scores(predictions, targets, resamples=2000, seed=1, of=metrics_of_numbers)[name]
    theirs = bootstrap(
        (targets[:, 0], predictions[:, 0]), REFERENCES[name], n_resamples=1000, method="percentile", paired=True,
        vectorized=False, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * width)


def test_a_difference_is_paired_on_rows() -> None:
    predictions, targets = drawn()
    # Each error is twice as large, so on each resample twice the mean is lost.
    double = targets + 2 * (predictions - targets)
    ours = differences(double, predictions, targets, resamples=300, seed=0, of=metrics_of_numbers)
    of_one = scores(predictions, targets, resamples=300, seed=0, of=metrics_of_numbers)
    lost, one = ours["mean_absolute_error"], of_one["mean_absolute_error"]
    assert (lost.value, lost.low, lost.high) == pytest.approx((one.value, one.low, one.high))
    assert ours["r2"].high < 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(GraftlineError, match="1 of 2 rows were given values that are no finite numbers"):
        metrics_of_numbers(np.array([[1.0], [value]]), np.array([[1.0], [2.0]]))


def test_no_rows_are_refused() -> None:
    with pytest.raises(GraftlineError, match="no rows to score"):
        metrics_of_numbers(np.zeros((0, 1)), np.zeros((0, 1)))
