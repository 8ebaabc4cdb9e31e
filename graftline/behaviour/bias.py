"""Differences between groups of people, and whether adapting the base model made them larger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.bootstrap import Difference, difference_of, number_of, row_counts, several
from graftline.evaluation.group_rates import Rate
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.task_scores import TaskScores

# A group with fewer rows differs from the others by chance alone.
SMALLEST_GROUP = 30


@dataclass(frozen=True)
class Disparity:
    """One way in which a model treats groups, or words for them, differently."""

    name: str
    """The column of the groups, or the name of the words."""
    measure: str
    rows: int
    value: float
    """0: no difference."""
    between: str
    """Where it is largest, in words."""
    frozen: float | None = None
    """The same of the frozen base model."""
    amplification: Difference | None = None
    """By how much adapting made it larger, paired on rows."""


def group_disparities(
    task_scores: TaskScores,
    name: str,
    groups: Sequence[str],
    predictions: Floats,
    targets: NDArray[Any],
    *,
    labels: Sequence[str],
    frozen: Floats | None,
    resamples: int,
    seed: int,
    together: Integers | None = None,
) -> list[Disparity]:
    """The largest difference between any two groups in each rate; of several labels that where it is largest.

    `frozen` are the predictions of the frozen base model. Rows with the same number in `together` (rows,) are not
    independent.
    """
    values, counts = np.unique(groups, return_counts=True)
    large = values[counts >= SMALLEST_GROUP]
    kept = np.isin(groups, large)
    if len(large) < 2:
        return []
    members = np.array(groups)[kept]
    ours = task_scores.rates(predictions[kept], targets[kept])
    theirs = None if frozen is None else task_scores.rates(frozen[kept], targets[kept])
    one_hot = (members[:, None] == large).astype(float)
    strata = task_scores.strata(targets[kept])
    alike = several(None if together is None else together[kept])
    drawn = _drawn(ours, theirs, one_hot, strata, resamples, seed, alike) if theirs else {}
    found = []
    for measure, rates in ours.items():
        value, between = _largest(rates, members, labels)
        before = _largest(theirs[measure], members, labels)[0] if theirs else None
        gain = None if before is None else difference_of(value - before, drawn[measure], number_of(alike))
        found.append(Disparity(name, measure, len(members), value, between, before, gain))
    return found


def swap_disparity(
    name: str,
    ours: Floats,
    theirs: Floats | None,
    *,
    changed: int,
    resamples: int,
    seed: int,
    together: Integers | None = None,
) -> Disparity:
    """How far answers move (rows,) when words that say nothing about the label are swapped; 0 would be fair.

    `theirs` are the moves of the frozen base model, and in `changed` rows the answer became another one. Rows with the
    same number in `together` (rows,) are not independent.
    """
    measure, value = "moved by swapped words", float(ours.mean())
    between = f"another answer in {changed} of {len(ours)} rows, moved by at most {ours.max():.3f}"
    if theirs is None:
        return Disparity(name, measure, len(ours), value, between)
    alike = several(together)
    chunks = [
        counts @ (ours - theirs) / counts.sum(1)
        for counts in row_counts(np.zeros(len(ours), dtype=np.int64), resamples, seed, alike)
    ]
    gain = difference_of(value - float(theirs.mean()), np.concatenate(chunks), number_of(alike))
    return Disparity(name, measure, len(ours), value, between, float(theirs.mean()), gain)


def _largest(rate: Rate, members: NDArray[Any], labels: Sequence[str]) -> tuple[float, str]:
    """The largest difference over the labels, by fairlearn, and between which groups it is."""
    from fairlearn.metrics import MetricFrame

    found = []
    for place in range(rate.hit.shape[1]):
        frame = MetricFrame(
            metrics=lambda among, hit: float(hit.sum() / max(1.0, among.sum())),
            y_true=rate.among[:, place],
            y_pred=rate.hit[:, place],
            sensitive_features=members,
        )
        of_groups = frame.by_group
        of_label = f" of {labels[place]}" if rate.hit.shape[1] > 1 else ""
        between = f"{of_groups.idxmax()} {of_groups.max():.3f}, {of_groups.idxmin()} {of_groups.min():.3f}{of_label}"
        found.append((float(frame.difference()), between))
    return max(found, key=lambda one: one[0])


def _drawn(
    ours: Mapping[str, Rate],
    theirs: Mapping[str, Rate],
    one_hot: Floats,
    strata: NDArray[np.int64] | None,
    resamples: int,
    seed: int,
    together: Integers | None,
) -> dict[str, Floats]:
    """The amplification of each measure over resampled rows: (resamples,)."""
    rows = len(one_hot)
    parts: dict[str, list[Floats]] = {measure: [] for measure in ours}
    for counts in row_counts(np.zeros(rows, dtype=np.int64) if strata is None else strata, resamples, seed, together):
        for measure, rate in ours.items():
            parts[measure].append(_differences(rate, one_hot, counts) - _differences(theirs[measure], one_hot, counts))
    return {measure: np.concatenate(values) for measure, values in parts.items()}


def _differences(rate: Rate, one_hot: Floats, counts: Floats) -> Floats:
    """The largest difference over the labels in each resample: (resamples,)."""
    largest = np.zeros(len(counts))
    for hit, among in zip(rate.hit.T, np.broadcast_to(rate.among, rate.hit.shape).T, strict=True):
        right, size = counts @ (one_hot * hit[:, None]), counts @ (one_hot * among[:, None])
        shares = right / np.maximum(size, 1.0)
        largest = np.maximum(largest, shares.max(1) - shares.min(1))
    return largest
