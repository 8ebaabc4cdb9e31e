"""Wrong labels: rows whose label contradicts what a head says that learned from all other rows but them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from graftline.data.folds import dealt_folds
from graftline.evaluation.bootstrap import CONFIDENCE, Score, scores
from graftline.evaluation.metrics import Floats, Integers
from graftline.models.output_kind import OutputKind
from graftline.models.outputs import Outputs
from graftline.settings import Task
from graftline.training.linear_head import Refit, solve_head
from graftline.training.objective import ObjectiveFor

# Of five folds a head learns from three and chooses its penalty by the fourth, from which it then learns, too.
FOLDS = 5
# Labels changed on purpose to see how many of them are found: enough to count, too few to change what is learned much.
PLANTED_SHARE = 0.05
RESAMPLES = 1000

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What heads say of rows that they have not learned from."""

    probabilities: Floats
    """(rows, labels)"""
    judged: Flags
    """(rows, labels): whether the head of a row has seen rows of this label, and others."""
    penalty: float


@dataclass(frozen=True, eq=False)
class Doubts:
    """Which labels look wrong, (rows,) each; of several labels of a row the one that is doubted most speaks for it."""

    judged: Flags
    """Of whose label, or one of them, its head has seen rows, and others."""
    doubted: Flags
    likely: Integers
    """The target that looks right, as the task has it: (rows,), or (rows, labels)."""
    given_probability: Floats
    likely_probability: Floats

    @property
    def order(self) -> Integers:
        """The doubted rows, those first whose label is least probable beside the likely one."""
        margin = np.where(self.doubted, self.given_probability - self.likely_probability, np.inf)
        return np.argsort(margin, kind="stable")[: int(self.doubted.sum())]


def clusters_of(rows: int, alike: Sequence[Sequence[int]]) -> Integers:
    """The number of the cluster of each row (rows,): rows that stand together in one of the sets `alike` share it."""
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for members in alike:
        for row in members[1:]:
            parent[root(row)] = root(members[0])
    return np.array([root(row) for row in range(rows)], dtype=np.int64)


def folds_of(clusters: Integers, targets: Sequence[str], seed: int) -> Integers:
    """The fold of each row (rows,): a cluster has one, and each target is spread over the folds as evenly as may be."""
    return dealt_folds(clusters, targets, folds=FOLDS, seed=seed)


def out_of_fold(
    features: Tensor,
    targets: Tensor,
    folds: Integers,
    *,
    outputs: Outputs,
    kind: OutputKind,
    objective_for: ObjectiveFor,
    penalty: float | None = None,
    passed: Callable[[int, int], None] = lambda _, __: None,
) -> OutOfFold:
    """What a solved head says of each fold that learned from the others, for features (rows, width).

    Without a `penalty` the first head chooses it, and all others take the same.
    """
    of_row = torch.from_numpy(folds)
    probabilities = torch.zeros(len(features), outputs.width, dtype=torch.float64)
    judged = np.zeros((len(features), outputs.width), np.bool_)
    learned = kind.as_learned(outputs, targets)
    for fold in range(FOLDS):
        held, chosen = of_row == fold, of_row == (fold + 1) % FOLDS
        train = ~(held | chosen)
        solved = solve_head(
            features[train],
            learned[train],
            validation=(features[chosen], learned[chosen]),
            outputs=outputs.width,
            objective=objective_for(outputs, targets[train]),
            penalty=penalty,
            refit=Refit(objective_for(outputs, targets[~held])),
        )
        penalty = solved.penalty
        probabilities[held] = kind.answers(outputs, features[held] @ solved.weight.T + solved.bias)
        judged[held.numpy()] = _seen(targets[~held], outputs.width)
        passed(fold + 1, FOLDS)
    assert penalty is not None
    return OutOfFold(probabilities.numpy(), judged, penalty)


def doubts_of(task: Task, targets: Integers, said: OutOfFold) -> Doubts:
    """The labels that confident learning takes for wrong: Northcutt et al. 2021, JAIR 70, doi 10.1613/jair.1.12125.

    A row is doubted if another label is at least as probable as it is on average for the rows that have that label,
    and is the most probable one. Rows that could not be judged are not doubted.
    """
    return _FINDERS[task](targets, said)


def planted(task: Task, targets: Integers, chosen: Integers, seed: int) -> Integers:
    """The targets with a wrong label in each of the `chosen` rows: another one at random, or one more or one less."""
    random, changed = np.random.default_rng(seed), targets.copy()
    if task == "multi_label":
        places = random.integers(targets.shape[1], size=len(chosen))
        changed[chosen, places] = 1 - changed[chosen, places]
        return changed
    labels = int(targets.max()) + 1
    changed[chosen] = (changed[chosen] + random.integers(1, labels, size=len(chosen))) % labels
    return changed


def share_of(doubted: Flags, clusters: Integers, seed: int) -> Score:
    """The share of the rows that are doubted; rows of a cluster are drawn together.

    The interval is that of resampled clusters, and no narrower than Wilson's, for none of few rows is no proof of none.
    """
    drawn = scores(
        doubted[:, None].astype(float),
        doubted,
        of=lambda values, _: {"wrong": lambda weights: (weights @ values[:, 0]) / weights.sum(1)},
        resamples=RESAMPLES,
        seed=seed,
        groups=np.unique(clusters, return_inverse=True)[1],
    )["wrong"]
    wilson = binomtest(int(doubted.sum()), len(doubted)).proportion_ci(CONFIDENCE, "wilson")
    return Score(drawn.value, min(drawn.low, float(wilson.low)), max(drawn.high, float(wilson.high)))


def wrong_share(doubted: Score, *, looked: int, wrong: int, planted: int, found: int) -> Score:
    """The share of the labels that are wrong, from the share that is `doubted`.

    People `looked` at some doubts, and so many were `wrong`; of the labels `planted` so many were `found`. So the share
    is that of the doubts, times how often a doubt is right, over how many wrong labels are doubted. The bounds are
    those of all three together, which is on the safe side; without a look the lower one is 0, and the doubts stand for
    the wrong labels, as confident learning has it: what it finds too much is to make up for what it misses.
    """
    right = binomtest(wrong, looked).proportion_ci(CONFIDENCE, "wilson") if looked else None
    recall = binomtest(found, planted).proportion_ci(CONFIDENCE, "wilson") if planted else None
    low, high = (float(right.low), float(right.high)) if right else (0.0, 1.0)
    least = float(recall.low) if recall else 1.0
    value = doubted.value
    if looked:
        value = min(1.0, value * wrong / looked * (planted / found if found else 1.0))
    return Score(value, doubted.low * low, min(1.0, doubted.high * high / least) if least else 1.0)


def _of_one_label(targets: Integers, said: OutOfFold) -> Doubts:
    from cleanlab.filter import find_label_issues

    rows = np.arange(len(targets))
    judged = said.judged[rows, targets]
    likely = np.where(said.judged, said.probabilities, -1).argmax(1)
    doubted = np.zeros(len(targets), np.bool_)
    if len(np.unique(targets[judged])) > 1:
        doubted[judged] = find_label_issues(
            targets[judged], said.probabilities[judged], filter_by="confident_learning", n_jobs=1
        )
    return Doubts(judged, doubted, likely, said.probabilities[rows, targets], said.probabilities[rows, likely])


def _of_several_labels(targets: Integers, said: OutOfFold) -> Doubts:
    """Each label by itself: whether a row has it, or has it not."""
    doubted, given = np.zeros(targets.shape, np.bool_), np.ones(targets.shape)
    for label in range(targets.shape[1]):
        judged = said.judged[:, label]
        there = said.probabilities[judged, label]
        alone = OutOfFold(np.column_stack([1 - there, there]), np.ones((len(there), 2), np.bool_), said.penalty)
        found = _of_one_label(targets[judged, label], alone)
        doubted[judged, label], given[judged, label] = found.doubted, found.given_probability
    most = np.where(doubted, given, np.inf).argmin(1)
    rows = np.arange(len(targets))
    likely = np.where(doubted, 1 - targets, targets)
    return Doubts(
        np.any(said.judged, axis=1), np.any(doubted, axis=1), likely, given[rows, most], 1 - given[rows, most]
    )


def _seen(targets: Tensor, width: int) -> Flags:
    """(labels,): whether rows with these targets have the label, and others have not."""
    there = targets.double() if targets.ndim > 1 else torch.nn.functional.one_hot(targets, width).double()
    share = there.mean(0)
    return np.asarray(((share > 0) & (share < 1)).numpy())


_FINDERS: Mapping[Task, Callable[[Integers, OutOfFold], Doubts]] = {
    "single_label": _of_one_label,
    "multi_label": _of_several_labels,
}
