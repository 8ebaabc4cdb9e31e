from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise, roc_auc_score

from graftline.transfer.permutations import permutation_test
from graftline.transfer.two_samples import classifier_accuracy, kernel_distance, median_distance


def members(today: int, rows: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    chosen = np.zeros((rows, 1), dtype=np.float32)
    chosen[:today] = 1
    return chosen


def drawn(rows: int, moved: float, seed: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return (np.random.default_rng(seed).standard_normal((rows, 6)) + moved).astype(np.float32)


def test_the_kernel_distance_is_the_sum_over_all_pairs() -> None:
    today, others = drawn(7, 0.5, 0), drawn(11, 0, 1)
    bandwidth = median_distance(others)

    def mean_kernel(ours: Any, theirs: Any) -> Any:
        pairs = [
            np.exp(-np.sum((one - other) ** 2) / (2 * bandwidth**2))
            for place, one in enumerate(ours) for other_place, other in enumerate(theirs)
            if ours is not theirs or place != other_place
        ]  # fmt: skip
        return np.mean(pairs)

    by_hand = mean_kernel(today, today) + mean_kernel(others, others) - 2 * mean_kernel(today, others)
    found = kernel_distance(np.concatenate([today, others]), bandwidth)(members(7, 18))[0]
    assert found == pytest.approx(by_hand, abs=1e-6)


def test_the_bandwidth_is_the_median_distance_between_rows() -> None:
    rows = drawn(50, 0, 0)
    distances = pairwise.euclidean_distances(rows.astype(float))[np.triu_indices(50, 1)]
    assert median_distance(rows) == pytest.approx(np.median(distances), rel=1e-5)


def test_rows_that_are_all_alike_have_a_bandwidth_to_divide_by() -> None:
    assert median_distance(np.ones((5, 3), dtype=np.float32)) == 1


def test_the_classifier_tells_rows_apart_about_as_well_as_a_fitted_logistic_regression() -> None:
    rows = np.concatenate([drawn(200, 0.4, 0), drawn(800, 0, 1)])
    found = classifier_accuracy(rows, np.random.default_rng(0))(members(200, 1000))[0]
    labels, fold = np.arange(1000) < 200, np.arange(1000) % 2 == 0
    fitted = LogisticRegression().fit(rows[fold], labels[fold]).decision_function(rows[~fold])
    assert found == pytest.approx(roc_auc_score(labels[~fold], fitted), abs=0.04)


def test_without_a_difference_the_classifier_is_no_better_than_chance() -> None:
    areas = [
        classifier_accuracy(drawn(400, 0, seed), np.random.default_rng(seed))(members(100, 400))[0]
        for seed in range(20)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("moved", [0.0, 0.5])
def test_both_find_rows_that_moved_and_no_others(moved: float) -> None:
    rows, random = np.concatenate([drawn(80, moved, 3), drawn(320, 0, 4)]), np.random.default_rng(0)
    statistics = (kernel_distance(rows, median_distance(rows[80:])), classifier_accuracy(rows, random))
    assert [permutation_test(one, 80, 320, random, most_draws=999).p < 0.01 for one in statistics] == [moved > 0] * 2
