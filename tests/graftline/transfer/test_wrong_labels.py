"""Planted errors are found, right labels are left alone, and the folds keep together what belongs together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graftline.answers.tasks import TASKS
from graftline.evaluation.bootstrap import Score
from graftline.settings import Task
from graftline.transfer.wrong_labels import (
    FOLDS,
    Doubts,
    OutOfFold,
    clusters_of,
    doubts_of,
    folds_of,
    out_of_fold,
    planted,
    share_of,
    wrong_share,
)

LABELS = ("a", "b", "c")
ROWS, WIDTH = 240, 4


def features_of(targets: torch.Tensor) -> torch.Tensor:
    """Rows that lie around the corner of their label, or of all of theirs, with little noise."""
    there = targets if targets.ndim > 1 else torch.nn.functional.one_hot(targets, len(LABELS))
    noise = torch.randn(len(targets), WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.cat([there.float(), torch.zeros(len(targets), 1)], 1) + 0.15 * noise


def true_targets(task: Task) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(1)
    if task == "multi_label":
        return torch.randint(2, (ROWS, len(LABELS)), generator=drawn)
    return torch.randint(len(LABELS), (ROWS,), generator=drawn)


def said_of(task: Task, features: torch.Tensor, targets: torch.Tensor, folds: NDArray[np.int64]) -> OutOfFold:
    parts = TASKS[task]
    outputs = parts.outputs.outputs_for(LABELS, targets)
    return out_of_fold(
        features, targets, folds, outputs=outputs, kind=parts.outputs, objective_for=parts.objective_for
    )  # fmt: skip


def doubts_in(task: Task, features: torch.Tensor, targets: torch.Tensor) -> Doubts:
    folds = folds_of(np.arange(len(targets)), [str(row.tolist()) for row in targets], seed=0)
    return doubts_of(task, targets.numpy(), said_of(task, features, targets, folds))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_planted_errors_are_found_with_the_label_that_was_right(task: Task) -> None:
    right, chosen = true_targets(task), np.arange(0, ROWS, 20)
    changed = torch.from_numpy(planted(task, right.numpy(), chosen, seed=0))
    doubts = doubts_in(task, features_of(right), changed)
    found = np.flatnonzero(doubts.doubted)
    assert set(found) <= set(chosen)
    assert len(found) >= 0.75 * len(chosen)
    assert np.array_equal(doubts.likely[found], right.numpy()[found])
    assert (doubts.given_probability[found] < 0.5).all()


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_right_labels_are_not_doubted(task: Task) -> None:
    right = true_targets(task)
    assert not doubts_in(task, features_of(right), right).doubted.any()


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_planted_label_is_another_one_in_each_chosen_row_alone(task: Task) -> None:
    right, chosen = true_targets(task).numpy(), np.array([0, 3, 5])
    different = planted(task, right, chosen, seed=0) != right
    assert set(np.flatnonzero(different if different.ndim == 1 else different.sum(1) == 1)) == set(chosen)


def test_what_is_said_of_a_row_does_not_depend_on_its_own_label() -> None:
    right = true_targets("single_label")
    folds = folds_of(np.arange(ROWS), ["one"] * ROWS, seed=0)
    of_first = np.flatnonzero(folds == 0)
    changed = right.clone()
    changed[of_first] = (changed[of_first] + 1) % len(LABELS)
    features = features_of(right)
    before, after = (said_of("single_label", features, targets, folds) for targets in (right, changed))
    assert np.array_equal(before.probabilities[of_first], after.probabilities[of_first])


def test_a_label_that_only_one_cluster_has_is_not_judged() -> None:
    right = true_targets("single_label") % 2
    right[:10] = 2
    clusters = clusters_of(ROWS, [range(10)])
    folds = folds_of(clusters, [str(int(row)) for row in right], seed=0)
    doubts = doubts_of("single_label", right.numpy(), said_of("single_label", features_of(right), right, folds))
    assert np.array_equal(np.flatnonzero(~doubts.judged), np.arange(10))
    assert not doubts.doubted.any()


def test_the_doubts_are_those_that_confident_learning_counts_by_hand() -> None:
    # The thresholds are the mean probabilities of the rows of each label: 0.7 and 0.6.
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.7, 0.3], [0.4, 0.6]])
    targets = np.array([0, 0, 0, 1, 1, 1])
    said = OutOfFold(probabilities, np.ones((6, 2), np.bool_), 0.1)
    doubts = doubts_of("single_label", targets, said)
    assert np.array_equal(np.flatnonzero(doubts.doubted), [2, 4])
    assert np.array_equal(doubts.order, [4, 2])


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab")), min_size=1, max_size=60), st.integers(0, 3)
)  # fmt: skip
def test_a_cluster_has_one_fold_and_each_target_is_spread_evenly(rows: list[tuple[int, str]], seed: int) -> None:
    clusters, targets = np.array([cluster for cluster, _ in rows]), [target for _, target in rows]
    folds = folds_of(clusters, targets, seed)
    assert all(len(set(folds[clusters == cluster])) == 1 for cluster in clusters)
    alone = folds_of(np.arange(len(rows)), targets, seed)
    for target in "ab":
        counts = np.bincount(alone[[one == target for one in targets]], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_clusters_join_whatever_shares_a_row() -> None:
    assert len(set(clusters_of(6, [[0, 1], [1, 2], [4, 5]]))) == 3
    joined = clusters_of(6, [[0, 1], [2, 3], [3, 1]])
    assert joined[0] == joined[2]
    assert joined[4] != joined[5]


def test_the_share_of_doubts_is_less_sure_for_rows_that_stand_together() -> None:
    doubted = np.arange(200) % 10 < 2
    alone = share_of(doubted, np.arange(200), seed=0)
    together = share_of(doubted, np.where(doubted, 0, 1) * 100 + np.arange(200) // 20, seed=0)
    assert alone.value == together.value == 0.2
    assert together.high - together.low > alone.high - alone.low


def test_no_doubt_among_few_rows_is_no_proof_that_no_label_is_wrong() -> None:
    assert share_of(np.zeros(20, np.bool_), np.arange(20), seed=0).high > 0.1


def test_a_look_narrows_what_is_wrong_and_without_one_it_may_be_none() -> None:
    doubted = Score(0.1, 0.08, 0.12)
    unseen = wrong_share(doubted, looked=0, wrong=0, planted=100, found=80)
    assert (unseen.value, unseen.low) == (0.1, 0)
    assert unseen.high > 0.12 / 0.8
    seen = wrong_share(doubted, looked=40, wrong=10, planted=100, found=80)
    assert seen.value == pytest.approx(0.1 * 0.25 / 0.8)
    assert 0 < seen.low < seen.value < seen.high < unseen.high
    assert wrong_share(doubted, looked=4, wrong=4, planted=10, found=0).high == 1
