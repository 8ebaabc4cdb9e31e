"""Held-out scores, each with a bootstrap interval, also paired between two models."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftline.errors import GraftlineError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
# The usual number of equal-width bins for the expected calibration error (Guo et al. 2017, arXiv 1706.04599).
CALIBRATION_BINS = 15
# Smallest probability that the log loss looks at: one confident error must not make it infinite.
EPSILON = 1e-15
# How far above 1 rounding may carry a probability.
TOLERANCE = 1e-6
# Resamples are drawn in chunks of at most this many counts, so that memory stays flat as rows grow.
CHUNK_COUNTS = 20_000_000


@dataclass(frozen=True)
class Score:
    """A number and the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Difference(Score):
    """A score's difference between two models on the same rows."""

    p: float
    """The two-sided p value of the paired bootstrap: the smallest level at which the interval leaves 0 out."""

    def as_json(self) -> dict[str, float]:
        return {**super().as_json(), "p": self.p}


# A metric of weighted rows: (resamples, rows) counts to (resamples,) values.
Metric = Callable[[Floats], Floats]


class MetricsOf(Protocol):
    """The metrics of one model's predictions."""

    def __call__(self, predictions: Floats, targets: NDArray[Any], /) -> dict[str, Metric]: ...


def scores(
    predictions: Floats,
    targets: NDArray[Any],
    *,
    resamples: int,
    seed: int,
    of: MetricsOf | None = None,
    strata: Integers | None = None,
) -> dict[str, Score]:
    """The metrics `of` these predictions, with intervals; without `of` those of class probabilities.

    The intervals are percentiles over resampled rows (Efron 1979). BCa corrects for bias and skewness, but needs the
    score without each single row, and has no answer where all resamples agree, as those of two equal models do; over
    the hundreds of rows that a verdict needs the two differ by less than the resamples' own noise.
    Rows of one stratum (rows,) are drawn from among themselves. With the class as stratum, which is how a model with
    one label per row is scored, every resample has the classes as often as the rows have: how often that is says
    nothing about a model, and a rare class cannot be missing from a resample, where it would count as an F1 of 0.
    """
    metrics = (of or metrics_of)(predictions, targets)
    drawn = _resampled(metrics, len(targets), resamples, seed, strata)
    whole = np.ones((1, len(targets)))
    return {name: _score(float(metric(whole)[0]), drawn[name]) for name, metric in metrics.items()}


def differences(
    candidate: Floats,
    champion: Floats,
    targets: NDArray[Any],
    *,
    resamples: int,
    seed: int,
    of: MetricsOf | None = None,
    strata: Integers | None = None,
) -> dict[str, Difference]:
    """Candidate minus champion on the same rows, both scored on the same resamples (the paired bootstrap)."""
    first, second = ((of or metrics_of)(predictions, targets) for predictions in (candidate, champion))
    paired: dict[str, Metric] = {name: _minus(first[name], second[name]) for name in first}
    drawn = _resampled(paired, len(targets), resamples, seed, strata)
    whole = np.ones((1, len(targets)))
    return {name: difference_of(float(metric(whole)[0]), drawn[name]) for name, metric in paired.items()}


def difference_of(value: float, drawn: Floats) -> Difference:
    """A difference whose value over the resamples (resamples,) was `drawn`.

    The p value counts the given rows as one more resample (Davison and Hinkley 1997, 4.2), so that it is never 0.
    """
    score = _score(value, drawn)
    # Not `<=` alone: a NaN is on no side, and must not look like evidence.
    below, above = (int((~side).sum()) for side in (drawn > 0, drawn < 0))
    return Difference(score.value, score.low, score.high, min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1)))


def metrics_of(probabilities: Floats, targets: Integers) -> dict[str, Metric]:
    """The metrics of (rows, classes) probabilities, as functions of how often each row counts.

    Raises: GraftlineError for no rows, and for what is no probability.
    """
    require_probabilities(probabilities)
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    hit = (predicted == targets).astype(float)
    loss = -np.log(np.clip(probabilities[np.arange(rows), targets], EPSILON, 1.0))
    cells = _one_hot(targets * classes + predicted, classes * classes)
    confidence = probabilities.max(1)
    bins = _one_hot(calibration_bins(confidence), CALIBRATION_BINS)

    def macro_f1(counts: Floats) -> Floats:
        table = (counts @ cells).reshape(-1, classes, classes)
        return np.asarray(_f1(table).mean(1))

    def calibration_error(counts: Floats) -> Floats:
        # Per bin |hits - confidence| summed over its rows; the mean over all rows is the expected error.
        return np.asarray(np.abs(counts @ (bins * (hit - confidence)[:, None])).sum(1) / counts.sum(1))

    return {
        "accuracy": mean_of(hit),
        "macro_f1": macro_f1,
        "log_loss": mean_of(loss),
        "calibration_error": calibration_error,
    }


def confusion(probabilities: Floats, targets: Integers) -> Integers:
    """How often each label (row) was predicted as each label (column): (classes, classes)."""
    classes = probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(table: Integers) -> list[dict[str, float]]:
    """Precision, recall, F1 and rows of each class, from a confusion table; 0 where nothing was there to divide by."""
    right = np.diag(table).astype(float)
    precision = right / np.maximum(table.sum(0), 1)
    recall = right / np.maximum(table.sum(1), 1)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for p, r, f, n in zip(precision, recall, _f1(table[None].astype(float))[0], table.sum(1), strict=True)
    ]


def reliability(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """For each filled confidence bin: mean confidence, share of right predictions, rows."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == targets
    place = calibration_bins(confidence)
    return [
        {
            "confidence": float(confidence[place == number].mean()),
            "accuracy": float(hit[place == number].mean()),
            "rows": int((place == number).sum()),
        }
        for number in np.unique(place)
    ]


def aligned(probabilities: Floats, labels: list[str], wanted: list[str]) -> Floats:
    """Columns in the order of `wanted`; a label that the model does not know has probability 0."""
    known = {label: place for place, label in enumerate(labels)}
    columns = [probabilities[:, known[label]] if label in known else np.zeros(len(probabilities)) for label in wanted]
    return np.stack(columns, axis=1)


def mean_of(values: Floats) -> Metric:
    """The mean of one value per row."""
    return lambda counts: np.asarray(counts @ values / counts.sum(1))


def calibration_bins(probabilities: Floats) -> Integers:
    """The bin of each probability."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def require_rows(rows: int) -> None:
    """Raises: GraftlineError if there are none."""
    if not rows:
        raise GraftlineError("there are no rows to score a model on; enlarge data.test_share")


def require_probabilities(values: Floats) -> None:
    """Raises: GraftlineError for no rows, or values that are no probabilities: a NaN would count as the first label."""
    if faulty := int((~((values >= 0) & (values <= 1 + TOLERANCE)).all(1)).sum()):
        raise GraftlineError(
            f"{faulty} of {len(values)} rows were given values that are no probabilities (NaN, or outside of 0 to 1),"
            " so the model cannot be scored; its weights are damaged or its training diverged: lower"
            " adaptation.learning_rate"
        )
    require_rows(len(values))


def _resampled(
    metrics: Mapping[str, Metric], rows: int, resamples: int, seed: int, strata: Integers | None
) -> dict[str, Floats]:
    parts: dict[str, list[Floats]] = {name: [] for name in metrics}
    for counts in row_counts(np.zeros(rows, dtype=np.int64) if strata is None else strata, resamples, seed):
        for name, metric in metrics.items():
            parts[name].append(metric(counts))
    return {name: np.concatenate(values) for name, values in parts.items()}


def row_counts(strata: Integers, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn in each resample: (some resamples, rows) at a time."""
    random, rows = np.random.default_rng(seed), len(strata)
    # Side by side, the rows of a stratum are a range from which a number between 0 and 1 picks one.
    order = np.argsort(strata, kind="stable")
    _, first, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    start, size = np.repeat(first, sizes), np.repeat(sizes, sizes)
    chunk = max(1, CHUNK_COUNTS // rows)
    for begin in range(0, resamples, chunk):
        some = min(chunk, resamples - begin)
        drawn = order[start + (random.random((some, rows)) * size).astype(np.int64)]
        drawn += np.arange(some)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=some * rows).reshape(some, rows).astype(float)


def _score(value: float, drawn: Floats) -> Score:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Score(value, float(low), float(high))


def _minus(first: Metric, second: Metric) -> Metric:
    return lambda counts: np.asarray(first(counts) - second(counts))


def _one_hot(values: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.eye(size)[values])


def _f1(table: Floats) -> Floats:
    """F1 of each class, from (resamples, classes, classes) confusion tables: (resamples, classes)."""
    right = np.diagonal(table, axis1=1, axis2=2)
    total = table.sum(1) + table.sum(2)
    return np.asarray(np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0))
