"""Choosing a strategy: what a budget allows, who judges which row, and that the model stays as it was."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graftline.digests import tensors_sha256
from graftline.errors import SettingsError
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.store import FeatureStore
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.progress import Listener
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from graftline.training.strategy_choice import (
    CANDIDATES,
    Folded,
    Trial,
    TrialPlan,
    best_trial,
    passes_of,
    plan_trials,
    tried,
)
from tests.graftline.training.test_strategies import SETTINGS
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model

ROWS = 24


def settings_of(**chosen: Any) -> AdaptationSettings:
    return AdaptationSettings(**SETTINGS | {"strategy": "auto", "epochs": 1} | chosen)


@pytest.mark.parametrize(
    ("epochs", "passes", "has_labels", "expected"),
    [
        (3, 50, True, (CANDIDATES, (), 5)),
        (3, 39, True, (CANDIDATES, (), 4)),
        (10, 50, True, (CANDIDATES, (), 2)),
        (10, 30, True, (CANDIDATES[:2], CANDIDATES[2:], 3)),
        (10, 1, True, (CANDIDATES[:1], ("contrastive", "probe_then_fine_tune"), 4)),
        (3, 50, False, (CANDIDATES[:2], (), 5)),
    ],
)
def test_the_budget_decides_the_folds_and_leaves_out_what_is_too_expensive(
    epochs: int, passes: int, has_labels: bool, expected: tuple[Any, ...]
) -> None:
    settings = settings_of(epochs=epochs, auto_passes=passes)
    plan = plan_trials(settings, has_labels=has_labels)
    assert (plan.candidates, plan.left_out, plan.folds) == expected
    spent = sum(passes_of(name, settings) for name in plan.candidates) * (plan.folds - 1)
    assert plan.passes == pytest.approx(spent)
    assert plan.passes <= passes


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), min_size=4, max_size=40), st.integers(2, 5))
def test_rows_that_belong_together_are_held_out_together_and_choose_together(
    rows: list[tuple[int, str]], folds: int
) -> None:
    clusters = np.array([cluster for cluster, _ in rows])
    folded = Folded(clusters, [target for _, target in rows], held_share=0.2)
    fold_of = folded.of_rows(folds, seed=0)
    for fold in range(folds):
        others = np.flatnonzero(fold_of != fold)
        choosing = folded.choosing(others, seed=0)
        sides = [set(clusters[fold_of == fold]), set(clusters[others[choosing]]), set(clusters[others[~choosing]])]
        assert len(set.union(*sides)) == sum(map(len, sides))


def test_the_best_has_the_highest_score_then_the_lowest_loss_then_the_lowest_price() -> None:
    trials = [Trial("feature_extraction", 0.8, 0.5), Trial("probe_then_fine_tune", 0.8, 0.4)]
    assert best_trial(trials) is trials[1]
    assert best_trial([*trials, Trial("contrastive", 0.9, 0.9)]).strategy == "contrastive"
    assert best_trial([trials[0], replace(trials[0], strategy="contrastive")]) is trials[0]


def adaptation_in(folder: Path, base: Path, steps: list[int]) -> Adaptation:
    def stores(point: FreezePoint) -> AbstractContextManager[FeatureStore]:
        return open_feature_store(
            folder / "features", str(point.first_trainable), precision="float32", limit_bytes=1 << 30
        )

    listener = Listener(progress=lambda told: steps.append(told.step))
    rows = {"train": tiny_rows(base, ROWS), "validation": tiny_rows(base, 4, seed=1)}
    return Adaptation(tiny_classifier(base), rows, settings_of(), objective_for, stores, folder / "trials", listener)


def test_trials_leave_the_model_as_it_was_repeat_themselves_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    base, steps = write_tiny_model(tmp_path / "base"), list[int]()
    adaptation = adaptation_in(tmp_path, base, steps)
    before = tensors_sha256(dict(adaptation.model.state_dict()))
    folded = Folded(np.arange(ROWS), [str(target) for target in adaptation.rows["train"].targets.tolist()], 0.25)
    plan = TrialPlan(CANDIDATES, (), folds=2, passes=4.0)
    first = tried(adaptation, plan, folded)
    assert tensors_sha256(dict(adaptation.model.state_dict())) == before
    assert [trial.strategy for trial in first] == list(CANDIDATES)
    trained = len(steps)
    assert trained > 0
    (tmp_path / "trials" / "contrastive-1.npy").unlink()
    assert tried(adaptation, plan, folded) == first
    # Only what was missing ran again: one training of four, and its steps are of the same number in both folds.
    assert len(steps) - trained < trained / 2
    assert tried(adaptation_in(tmp_path / "again", base, []), plan, folded) == first


def test_a_row_is_judged_by_a_model_that_has_not_learned_from_it(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    adaptation = adaptation_in(tmp_path, base, [])
    rows = adaptation.rows["train"]
    # Labels that nothing in the rows tells: whoever has seen a row may know its label, nobody else can.
    noise = torch.randint(2, (ROWS,), generator=torch.Generator().manual_seed(0))
    changed = replace(adaptation, rows={**adaptation.rows, "train": replace(rows, targets=noise)})
    flipped = replace(adaptation, rows={**adaptation.rows, "train": replace(rows, targets=noise.clone())})
    folded = Folded(np.arange(ROWS), [str(target) for target in noise.tolist()], 0.25)
    held = folded.of_rows(2, changed.settings.seed) == 0
    flipped.rows["train"].targets[torch.from_numpy(held)] = 1 - noise[torch.from_numpy(held)]
    plan = TrialPlan(("feature_extraction",), (), folds=2, passes=0.3)
    for one, folder in ((changed, "one"), (flipped, "other")):
        tried(replace(one, folder=tmp_path / folder), plan, folded)
    said = [np.load(tmp_path / folder / "feature_extraction-0.npy") for folder in ("one", "other")]
    assert np.array_equal(*said)


def test_a_strategy_that_is_still_to_be_chosen_trains_nothing(tmp_path: Path) -> None:
    adaptation = adaptation_in(tmp_path, write_tiny_model(tmp_path / "base"), [])
    with pytest.raises(SettingsError, match=r"adaptation\.strategy auto: .* here it has to be named, for example"):
        adaptation.run()
