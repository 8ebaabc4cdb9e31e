"""Scores and their differences with intervals from resampled rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from graftline.evaluation.groups import corrected_p, tail_of
from graftline.evaluation.metrics import Floats, Integers, Metric, MetricsOf

CONFIDENCE = 0.95
# Half of the 95 % interval's width, in standard errors.
NORMAL_95 = float(norm.isf((1 - CONFIDENCE) / 2))
# Resamples are drawn in chunks of at most this many counts, so that memory stays flat as rows grow.
CHUNK_COUNTS = 2_000_000


@dataclass(frozen=True)
class Score:
    """A number and the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The standard error that the interval's width says."""
        return (self.high - self.low) / (2 * NORMAL_95)

    def as_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Difference(Score):
    """A score's difference between two models on the same rows."""

    p: float
    """The two-sided p value of the paired bootstrap: the smallest level at which the interval leaves 0 out."""

    def as_json(self) -> dict[str, float]:
        return {**super().as_json(), "p": self.p}


def scores(
    predictions: Floats,
    targets: NDArray[Any],
    *,
    of: MetricsOf,
    resamples: int,
    seed: int,
    strata: Integers | None = None,
    groups: Integers | None = None,
) -> dict[str, Score]:
    """The metrics `of` these predictions, with intervals.

    The intervals are percentiles over resampled rows (Efron 1979). BCa corrects for bias and skewness, but needs the
    score without each single row, and has no answer where all resamples agree, as those of two equal models do; over
    the hundreds of rows that a verdict needs the two differ by less than the resamples' own noise.
    Rows of one stratum (rows,) are drawn from among themselves. With the class as stratum, which is how a model with
    one label per row is scored, every resample has the classes as often as the rows have: how often that is says
    nothing about a model, and a rare class cannot be missing from a resample, where it would count as an F1 of 0.
    Rows with the same number in `groups` (rows,) are not independent: whole groups are drawn (the cluster bootstrap),
    and from all groups, for of a stratum of few groups it would seem to be known how much they differ. Of a single
    group the rows are drawn, as if it were the only one there is.
    """
    metrics, groups = of(predictions, targets), several(groups)
    drawn = _resampled(metrics, len(targets), resamples, seed, strata, groups)
    whole, count = np.ones((1, len(targets))), number_of(groups)
    return {name: _score(float(metric(whole)[0]), drawn[name], count) for name, metric in metrics.items()}


def differences(
    candidate: Floats,
    champion: Floats,
    targets: NDArray[Any],
    *,
    of: MetricsOf,
    resamples: int,
    seed: int,
    strata: Integers | None = None,
    groups: Integers | None = None,
) -> dict[str, Difference]:
    """Candidate minus champion on the same rows, both scored on the same resamples (the paired bootstrap)."""
    groups = several(groups)
    first, second = (of(predictions, targets) for predictions in (candidate, champion))
    paired: dict[str, Metric] = {name: _minus(first[name], second[name]) for name in first}
    drawn = _resampled(paired, len(targets), resamples, seed, strata, groups)
    whole, count = np.ones((1, len(targets))), number_of(groups)
    return {name: difference_of(float(metric(whole)[0]), drawn[name], count) for name, metric in paired.items()}


def difference_of(value: float, drawn: Floats, groups: int | None = None) -> Difference:
    """A difference whose value over the resamples (resamples,) was `drawn`; of so many `groups`, if of whole ones.

    The p value counts the given rows as one more resample (Davison and Hinkley 1997, 4.2), so that it is never 0.
    """
    score = _score(value, drawn, groups)
    # Not `<=` alone: a NaN is on no side, and must not look like evidence.
    below, above = (int((~side).sum()) for side in (drawn > 0, drawn < 0))
    p = min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))
    return Difference(score.value, score.low, score.high, corrected_p(p, groups) if groups else p)


def several(groups: Integers | None) -> Integers | None:
    """Groups, unless there is only one."""
    return None if groups is None or (groups == groups[0]).all() else groups


def number_of(groups: Integers | None) -> int | None:
    """How many groups there are."""
    return None if groups is None else len(np.unique(groups))


def _resampled(
    metrics: Mapping[str, Metric],
    rows: int,
    resamples: int,
    seed: int,
    strata: Integers | None,
    groups: Integers | None,
) -> dict[str, Floats]:
    parts: dict[str, list[Floats]] = {name: [] for name in metrics}
    for counts in row_counts(np.zeros(rows, dtype=np.int64) if strata is None else strata, resamples, seed, groups):
        for name, metric in metrics.items():
            parts[name].append(metric(counts))
    return {name: np.concatenate(values) for name, values in parts.items()}


def row_counts(strata: Integers, resamples: int, seed: int, groups: Integers | None = None) -> Iterator[Floats]:
    """How often each row is drawn in each resample: (some resamples, rows) at a time. Of `groups` whole ones are."""
    if groups is not None:
        _, places = np.unique(groups, return_inverse=True)
        chunk = max(1, CHUNK_COUNTS // len(places))
        for of_groups in row_counts(np.zeros(places.max() + 1, dtype=np.int64), resamples, seed):
            yield from (of_groups[begin : begin + chunk, places] for begin in range(0, len(of_groups), chunk))
        return
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


def _score(value: float, drawn: Floats, groups: int | None = None) -> Score:
    tail = (1 - CONFIDENCE) / 2
    if groups:
        tail = tail_of(tail, groups)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Score(value, float(low), float(high))


def _minus(first: Metric, second: Metric) -> Metric:
    return lambda counts: np.asarray(first(counts) - second(counts))
