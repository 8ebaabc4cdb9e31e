"""Scores against scikit-learn, scipy and loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from graftline.errors import GraftlineError
from graftline.evaluation import bootstrap as resampling
from graftline.evaluation import metrics
from graftline.evaluation.bootstrap import differences, scores
from graftline.evaluation.metrics import CALIBRATION_BINS, Floats, Integers
from graftline.evaluation.single_label import confusion, metrics_of, per_class, reliability


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[Floats, Integers]:
    """Probabilities of 2 to 4 classes for up to 40 rows, and targets; classes without rows occur."""
    rows, classes = draw(st.integers(1, 40)), draw(st.integers(2, 4))
    weights = draw(arrays.arrays(np.float64, (rows, classes), elements=st.floats(0.01, 1)))
    targets = draw(arrays.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return weights / weights.sum(1, keepdims=True), targets


def random_rows(rows: int = 200, classes: int = 3, *, seed: int = 0) -> tuple[Floats, Integers]:
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, rows)
    weights = random.random((rows, classes)) + np.eye(classes)[targets]
    return weights / weights.sum(1, keepdims=True), targets


def whole(probabilities: Floats, targets: Integers, name: str) -> float:
    return float(metrics_of(probabilities, targets)[name](np.ones((1, len(targets))))[0])


@given(scored_rows())
def test_accuracy_is_that_of_scikit_learn(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    assert whole(*rows, "accuracy") == pytest.approx(accuracy_score(targets, probabilities.argmax(1)))


@given(scored_rows())
def test_macro_f1_is_that_of_scikit_learn_also_where_a_class_has_no_rows(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    labels = range(probabilities.shape[1])
    expected = f1_score(targets, probabilities.argmax(1), labels=labels, average="macro", zero_division=0)
    assert whole(*rows, "macro_f1") == pytest.approx(expected)


@given(scored_rows())
def test_log_loss_is_that_of_scikit_learn(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    assert whole(*rows, "log_loss") == pytest.approx(
        log_loss(targets, probabilities, labels=range(probabilities.shape[1]))
    )


def test_one_confident_error_keeps_the_log_loss_finite() -> None:
    assert whole(np.array([[1.0, 0.0]]), np.array([1]), "log_loss") == pytest.approx(-math.log(metrics.EPSILON))


@given(scored_rows())
def test_the_calibration_error_is_that_of_a_loop_over_bins(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    expected = 0.0
    for number in range(CALIBRATION_BINS):
        members = [
            row
            for row in range(len(targets))
            if min(int(probabilities[row].max() * CALIBRATION_BINS), CALIBRATION_BINS - 1) == number
        ]
        if members:
            confidence = sum(probabilities[row].max() for row in members) / len(members)
            right = sum(probabilities[row].argmax() == targets[row] for row in members) / len(members)
            expected += len(members) / len(targets) * abs(right - confidence)
    assert whole(*rows, "calibration_error") == pytest.approx(expected)


@given(scored_rows())
def test_the_reliability_bins_add_up_to_the_calibration_error(rows: tuple[Floats, Integers]) -> None:
    bins = reliability(*rows)
    error = sum(entry["rows"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(rows[1])
    assert error == pytest.approx(whole(*rows, "calibration_error"))


@settings(max_examples=20)
@given(scored_rows(), st.integers(0, 100))
def test_a_metric_of_counts_is_the_metric_of_repeated_rows(rows: tuple[Floats, Integers], seed: int) -> None:
    probabilities, targets = rows
    counts = np.random.default_rng(seed).integers(0, 3, len(targets))
    counts[0] += 1
    repeated = metrics_of(np.repeat(probabilities, counts, axis=0), np.repeat(targets, counts))
    for name, metric in metrics_of(probabilities, targets).items():
        of_counts, of_repeated = metric(counts[None].astype(float)), repeated[name](np.ones((1, int(counts.sum()))))
        assert of_counts == pytest.approx(of_repeated)


@pytest.mark.parametrize("name", ["accuracy", "log_loss"])
def test_the_interval_is_that_of_scipys_percentile_bootstrap(name: str) -> None:
    probabilities, targets = random_rows()
    ours = scores(probabilities, targets, of=metrics_of, resamples=4000, seed=1)[name]
    hit = (probabilities.argmax(1) == targets).astype(float)
    loss = -np.log(probabilities[np.arange(len(targets)), targets])
    sample = hit if name == "accuracy" else loss
    theirs = bootstrap(
        (sample,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


def test_the_interval_of_macro_f1_is_that_of_scipys_paired_bootstrap() -> None:
    probabilities, targets = random_rows()
    ours = scores(probabilities, targets, of=metrics_of, resamples=1000, seed=1)["macro_f1"]

    def macro_f1(true: Integers, predicted: Integers) -> float:
        return float(f1_score(true, predicted, average="macro"))

    theirs = bootstrap(
        (targets, probabilities.argmax(1)), macro_f1, n_resamples=300, method="percentile", paired=True,
        vectorized=False, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.2 * width)


def test_the_interval_does_not_depend_on_how_the_resamples_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(30)
    at_once = scores(*rows, of=metrics_of, resamples=100, seed=3)
    monkeypatch.setattr(resampling, "CHUNK_COUNTS", 70)
    chunked = scores(*rows, of=metrics_of, resamples=100, seed=3)
    for name, score in at_once.items():
        assert (chunked[name].low, chunked[name].high) == pytest.approx((score.low, score.high), rel=1e-12)


def test_resamples_within_strata_have_each_stratum_as_often_as_the_rows() -> None:
    strata = np.array([2, 0, 1, 0, 2, 2, 0, 0])
    (counts,) = resampling.row_counts(strata, 50, seed=0)
    for stratum in range(3):
        assert (counts[:, strata == stratum].sum(1) == (strata == stratum).sum()).all()
    assert counts.mean(0) == pytest.approx(1, abs=0.4)
    assert (counts == 0).any(0)[strata == 2].all()


def test_the_stratified_interval_has_the_width_that_the_strata_leave() -> None:
    strata = np.arange(400) % 4 == 0
    hit = np.where(strata, np.arange(400) % 8 == 0, np.arange(400) % 10 != 1)
    probabilities = np.where(np.eye(2)[hit.astype(int)] == 1, 0.9, 0.1)
    targets = np.ones(400, dtype=np.int64)
    kept = strata.astype(np.int64)
    score = scores(probabilities, targets, of=metrics_of, resamples=4000, seed=0, strata=kept)["accuracy"]
    parts = [(part.mean(), hit[part].mean()) for part in (strata, ~strata)]
    error = math.sqrt(sum(share**2 * p * (1 - p) / (share * 400) for share, p in parts))
    assert score.high - score.low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_the_p_value_is_the_level_at_which_the_interval_leaves_zero_out() -> None:
    drawn = np.random.default_rng(0).normal(0.2, 0.1, 999)
    p = resampling.difference_of(0.2, drawn).p
    assert p == pytest.approx(2 * (1 + (drawn <= 0).sum()) / 1000)
    assert resampling.difference_of(-0.2, -drawn).p == p
    assert resampling.difference_of(0.0, np.zeros(999)).p == 1.0
    assert resampling.difference_of(math.nan, np.full(999, math.nan)).p == 1.0


def test_equal_models_differ_by_exactly_nothing() -> None:
    probabilities, targets = random_rows()
    drawn = differences(probabilities, probabilities.copy(), targets, of=metrics_of, resamples=200, seed=0)
    assert {(score.value, score.low, score.high) for score in drawn.values()} == {(0.0, 0.0, 0.0)}


def test_a_difference_is_candidate_minus_champion_on_the_same_resamples() -> None:
    targets = np.arange(200) % 2
    right = np.where(np.eye(2)[targets] == 1, 0.9, 0.1)
    wrong = right.copy()
    wrong[:20] = wrong[:20, ::-1]
    accuracy = differences(right, wrong, targets, of=metrics_of, resamples=500, seed=0)["accuracy"]
    hits = scores(wrong, targets, of=metrics_of, resamples=500, seed=0)["accuracy"]
    # The candidate is always right, so on each resample the difference is what the champion lacks to 1.
    expected = (1 - hits.value, 1 - hits.high, 1 - hits.low)
    assert (accuracy.value, accuracy.low, accuracy.high) == pytest.approx(expected)


@given(scored_rows())
def test_the_confusion_table_is_that_of_scikit_learn(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    labels = range(probabilities.shape[1])
    assert (confusion(*rows) == confusion_matrix(targets, probabilities.argmax(1), labels=labels)).all()


@given(scored_rows())
def test_per_class_numbers_are_those_of_scikit_learn(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    labels = range(probabilities.shape[1])
    theirs = np.array(precision_recall_fscore_support(targets, probabilities.argmax(1), labels=labels, zero_division=0))
    ours = [[entry[name] for entry in per_class(confusion(*rows))] for name in ("precision", "recall", "f1", "rows")]
    assert np.array(ours) == pytest.approx(theirs)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value: float) -> None:
    probabilities, targets = random_rows(10)
    probabilities[3, 1] = value
    with pytest.raises(GraftlineError, match="1 of 10 rows were given values that are no probabilities"):
        scores(probabilities, targets, of=metrics_of, resamples=100, seed=0)


def test_a_champion_of_nan_is_refused_as_well() -> None:
    probabilities, targets = random_rows(10)
    with pytest.raises(GraftlineError, match="10 of 10 rows"):
        differences(probabilities, probabilities * math.nan, targets, of=metrics_of, resamples=100, seed=0)


def test_no_rows_are_refused() -> None:
    with pytest.raises(GraftlineError, match="no rows to score"):
        scores(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), of=metrics_of, resamples=100, seed=0)


def test_a_thousand_classes_are_scored_as_scikit_learn_does() -> None:
    probabilities, targets = random_rows(rows=300, classes=1000)
    wanted = f1_score(targets, probabilities.argmax(1), average="macro", labels=range(1000), zero_division=0)
    assert whole(probabilities, targets, "macro_f1") == pytest.approx(wanted)
