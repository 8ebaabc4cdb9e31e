"""Choosing a strategy by nested cross-validation: each row to learn from is judged by models that have not seen it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftline.data.folds import dealt_folds
from graftline.evaluation.metrics import Integers
from graftline.files import write_atomically
from graftline.frozen.rows import InputRows
from graftline.models.encoded_rows import ChosenRows
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.training.averaging import copied
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict

# One for a result in seconds, one for rows enough to train on, one for few: the cheapest first.
CANDIDATES: tuple[Strategy, ...] = ("feature_extraction", "probe_then_fine_tune", "contrastive")
MOST_FOLDS, LEAST_FOLDS = 5, 2
# A row that passes the model once without learning, as a share of one pass forward and backward.
FORWARD = 1 / 3


@dataclass(frozen=True)
class Trial:
    """A candidate and how it did on rows that it had not learned from."""

    strategy: Strategy
    score: float
    """The task's primary score over all folds together; higher is better."""
    loss: float


@dataclass(frozen=True)
class TrialPlan:
    """What a budget allows to try."""

    candidates: tuple[Strategy, ...]
    left_out: tuple[Strategy, ...]
    """Too expensive to be tried in even two folds."""
    folds: int
    passes: float
    """Passes over the training rows that all trials come to."""


@dataclass(frozen=True, eq=False)
class Folded:
    """The rows to learn from, dealt out."""

    clusters: Integers
    """(rows,): those that share a number stay together."""
    targets: Sequence[str]
    held_share: float
    """The share of the rows to learn from by which a training chooses: as large as in the run itself."""

    def of_rows(self, folds: int, seed: int) -> Integers:
        return dealt_folds(self.clusters, self.targets, folds=folds, seed=seed)

    def choosing(self, rows: Integers, seed: int) -> NDArray[np.bool_]:
        """(rows,): which of these rows choose the epoch or the penalty, where the others are learned from."""
        parts = max(2, round(1 / self.held_share))
        targets = [self.targets[row] for row in rows]
        return np.asarray(dealt_folds(self.clusters[rows], targets, folds=parts, seed=seed) == 0)


def plan_trials(settings: AdaptationSettings, *, has_labels: bool) -> TrialPlan:
    """As many folds as `auto_passes` allow, up to five; without the most expensive candidate if two are too many."""
    candidates = [name for name in CANDIDATES if has_labels or name != "contrastive"]
    left_out: list[Strategy] = []
    while True:
        for folds in range(MOST_FOLDS, LEAST_FOLDS - 1, -1):
            passes = (folds - 1) * sum(passes_of(name, settings) for name in candidates)
            if passes <= settings.auto_passes:
                return TrialPlan(tuple(candidates), tuple(left_out), folds, passes)
        dearest = max(candidates, key=lambda name: passes_of(name, settings))
        candidates.remove(dearest)
        left_out.append(dearest)


def passes_of(strategy: Strategy, settings: AdaptationSettings) -> float:
    """About how many passes over the rows, forward and backward, a candidate takes."""
    epochs = settings.epochs * settings.runs
    return {"feature_extraction": 0, "probe_then_fine_tune": epochs, "contrastive": 2 * epochs}[strategy] + FORWARD


def tried(adaptation: Adaptation, plan: TrialPlan, folded: Folded) -> list[Trial]:
    """How each candidate does, in the order of the plan; the model is as it was before.

    What is done lies in the adaptation's folder: who finds it there goes on from it.
    """
    start = copied(adaptation.model.state_dict())
    rows, seed = adaptation.rows["train"], adaptation.settings.seed
    fold_of = folded.of_rows(plan.folds, seed)
    objective = adaptation.objective_for(adaptation.model.outputs, rows.targets)
    trials = []
    for strategy in plan.candidates:
        outputs = torch.zeros(len(rows.targets), adaptation.model.outputs.width)
        for fold in range(plan.folds):
            held = np.flatnonzero(fold_of == fold)
            kept = adaptation.folder / f"{strategy}-{fold}.npy"
            if not kept.exists():
                adaptation.model.load_state_dict(start)
                said = _said_of(held, adaptation, strategy, folded, folder=adaptation.folder / f"{strategy}-{fold}")
                _keep(said, kept)
            outputs[held] = torch.from_numpy(np.load(kept, allow_pickle=False))
        score, loss = objective.score(outputs, rows.targets), float(objective.validation_loss(outputs, rows.targets))
        adaptation.listener.say(f"auto: {strategy} has score {score:.4f}, loss {loss:.4f} in {plan.folds} folds")
        trials.append(Trial(strategy, score, loss))
    adaptation.model.load_state_dict(start)
    return trials


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The one with the highest score; of equals that with the lowest loss, then the first, which is the cheapest."""
    return min(trials, key=lambda trial: (-trial.score, trial.loss))


def _said_of(held: Integers, adaptation: Adaptation, strategy: Strategy, folded: Folded, *, folder: Path) -> Tensor:
    """A model's output for the held rows, that learned from all others as the run would: (held, outputs)."""
    rows, settings = adaptation.rows["train"], adaptation.settings
    others = np.setdiff1d(np.arange(len(rows.targets)), held)
    choosing = folded.choosing(others, settings.seed)
    listener = replace(adaptation.listener, finished_epoch=lambda _: None, say=lambda _: None)
    replace(
        adaptation,
        rows={"train": _only(rows, others[~choosing]), "validation": _only(rows, others[choosing])},
        # Not once more from all rows, which would cost each fold twice as much.
        settings=settings.model_copy(update={"strategy": strategy, "refit_rows": 0}),
        folder=folder,
        listener=listener,
    ).run()
    return predict(adaptation.model, _only(rows, held), batch_size=settings.batch_size)


def _only(rows: InputRows, chosen: Integers) -> InputRows:
    places = chosen.tolist()
    weights = None if rows.weights is None else rows.weights[places]
    return replace(rows, encoded=ChosenRows(rows.encoded, chosen), targets=rows.targets[places], weights=weights)


def _keep(outputs: Tensor, path: Path) -> None:
    content = io.BytesIO()
    np.save(content, outputs.numpy(), allow_pickle=False)
    write_atomically(path, content.getvalue())
