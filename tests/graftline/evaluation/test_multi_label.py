"""Scores of rows with several labels, against scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from graftline.errors import GraftlineError
from graftline.evaluation.bootstrap import differences, scores
from graftline.evaluation.metrics import CALIBRATION_BINS, Floats, Integers
from graftline.evaluation.multi_label import label_reliability, metrics_of_labels, per_label


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[Floats, Integers]:
    """Probabilities of 1 to 4 labels for up to 40 rows, and which of them are there; labels without rows occur."""
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    probabilities = draw(arrays.arrays(np.float64, shape, elements=st.floats(0.01, 0.99)))
    return probabilities, draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 1)))


def whole(probabilities: Floats, targets: Integers, name: str) -> float:
    return float(metrics_of_labels(probabilities, targets)[name](np.ones((1, len(targets))))[0])


@given(scored_rows(), st.sampled_from(["macro", "micro"]))
def test_f1_is_that_of_scikit_learn_also_where_a_label_has_no_rows(rows: tuple[Floats, Integers], average: str) -> None:
    probabilities, targets = rows
    f1 = [f1_score(t, p, zero_division=0) for t, p in zip(targets.T, (probabilities >= 0.5).T.astype(int), strict=True)]
    micro = f1_score(targets.ravel(), (probabilities >= 0.5).ravel().astype(int), zero_division=0)
    assert whole(*rows, f"{average}_f1") == pytest.approx(np.mean(f1) if average == "macro" else micro)


@given(scored_rows())
def test_subset_accuracy_is_the_accuracy_of_scikit_learn_on_whole_rows(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    expected = accuracy_score([str(row) for row in targets > 0], [str(row) for row in probabilities >= 0.5])
    assert whole(*rows, "subset_accuracy") == pytest.approx(expected)


@given(scored_rows())
def test_the_log_loss_is_that_of_scikit_learn_averaged_over_labels(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    expected = [log_loss(t, p, labels=[0, 1]) for t, p in zip(targets.T, probabilities.T, strict=True)]
    assert whole(*rows, "log_loss") == pytest.approx(np.mean(expected))


@given(scored_rows())
def test_the_calibration_error_is_that_of_a_loop_over_bins_and_of_the_reliability_table(
    rows: tuple[Floats, Integers],
) -> None:
    given_, there = rows[0].ravel(), rows[1].ravel()
    expected = 0.0
    for number in range(CALIBRATION_BINS):
        members = [i for i in range(len(given_)) if min(int(given_[i] * CALIBRATION_BINS), 14) == number]
        expected += abs(sum(there[i] - given_[i] for i in members)) / len(given_)
    bins = label_reliability(*rows)
    of_table = sum(entry["rows"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(given_)
    assert whole(*rows, "calibration_error") == pytest.approx(expected)
    assert of_table == pytest.approx(expected)


@settings(max_examples=20)
@given(scored_rows(), st.integers(0, 100))
def test_a_metric_of_counts_is_the_metric_of_repeated_rows(rows: tuple[Floats, Integers], seed: int) -> None:
    probabilities, targets = rows
    counts = np.random.default_rng(seed).integers(0, 3, len(targets))
    counts[0] += 1
    repeated = metrics_of_labels(np.repeat(probabilities, counts, axis=0), np.repeat(targets, counts, axis=0))
    for name, metric in metrics_of_labels(probabilities, targets).items():
        of_repeated = repeated[name](np.ones((1, int(counts.sum()))))
        assert metric(counts[None].astype(float)) == pytest.approx(of_repeated)


@given(scored_rows())
def test_per_label_numbers_are_those_of_scikit_learn(rows: tuple[Floats, Integers]) -> None:
    probabilities, targets = rows
    for label, entry in enumerate(per_label(*rows)):
        predicted = (probabilities[:, label] >= 0.5).astype(int)
        theirs = precision_recall_fscore_support(targets[:, label], predicted, labels=[1], zero_division=0)
        ours = [entry[name] for name in ("precision", "recall", "f1", "rows")]
        assert ours == pytest.approx([float(value[0]) for value in theirs])


def test_intervals_and_paired_differences_come_from_the_same_resamples() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (200, 3))
    right = np.where(targets == 1, 0.9, 0.1)
    wrong = np.where(random.random((200, 3)) < 0.1, 1 - right, right)
    of_wrong = scores(wrong, targets, resamples=300, seed=0, of=metrics_of_labels)["macro_f1"]
    assert of_wrong.low < of_wrong.value < of_wrong.high
    drawn = differences(right, wrong, targets, resamples=300, seed=0, of=metrics_of_labels)["macro_f1"]
    expected = (1 - of_wrong.value, 1 - of_wrong.high, 1 - of_wrong.low)
    assert (drawn.value, drawn.low, drawn.high) == pytest.approx(expected)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(GraftlineError, match="1 of 2 rows were given values that are no probabilities"):
        metrics_of_labels(np.array([[0.5, np.nan], [1.0, 0.0]]), np.array([[0, 1], [1, 1]]))
