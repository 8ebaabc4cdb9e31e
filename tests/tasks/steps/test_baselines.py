"""Baselines: what they are, that they are computed once, and that negative transfer is seen and rejected."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.scores.projects import git
from graftline.answers.predicting import predictor_of
from graftline.answers.tasks import TASKS
from graftline.evaluation.given import answers_in
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.data.accepted_rows import raw_inputs, split_targets
from graftline.tasks.steps import baselines as step
from graftline.tasks.steps.baseline_settings import SCRATCH_RATE, frozen_head_settings, scratch_settings
from graftline.tasks.steps.baselines import Baselines
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.words_alone import LABELLED, LabelledTexts, answers_on_words
from graftline.tasks.workspace import Workspace
from graftline.training.progress import DivergedError
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from graftline.verdict.axis import Axis
from graftline.verdict.policy import BASELINES, Baseline
from tests.support.tiny_models import tiny_classifier, tiny_rows
from tests.support.tiny_project import Line, connected, run_line, write_policy, write_project

CHEAP: Sequence[Baseline] = ("tfidf", "frozen_head")


def computed(line: Line, wanted: Sequence[Baseline] = CHEAP, **adaptation: Any) -> Baselines:
    return step.baselines.fn(line.workspace, changed(line.settings, **adaptation), wanted, line.data, line.base)


def changed(settings: Settings, **adaptation: Any) -> Settings:
    plain = settings.model_dump()
    return Settings.model_validate({**plain, "adaptation": {**plain["adaptation"], **adaptation}})


@pytest.fixture(scope="module")
def once(adapted_once: Line) -> Baselines:
    return computed(adapted_once)


def test_each_says_something_of_every_held_out_row(adapted: Line, once: Baselines) -> None:
    assert list(once.rivals) == ["majority", "tfidf", "frozen_head"]
    for rival in once.rivals.values():
        predictions = rival.predictions()
        assert predictions.shape == (adapted.data.split_rows["test"], 2)
        assert predictions.sum(1) == pytest.approx(1)
    assert once.left_out == {}  # scratch is there on request only
    targets = split_targets(adapted.data, "test").numpy()
    assert (once.rivals["tfidf"].predictions().argmax(1) == targets).mean() > 0.9


@pytest.mark.parametrize(
    "adaptation",
    [
        {"seed": 7, "learning_rate": 1e-4, "head_learning_rate": 1e-4, "weight_decay": 0.1, "epochs": 1},
        {"strategy": "lora", "lora_rank": 2},
        {"strategy": "probe_then_fine_tune", "average": "greedy", "patience": 1},
    ],
)
def test_another_try_at_the_adaptation_finds_the_same_baselines(
    adapted: Line, once: Baselines, adaptation: dict[str, Any]
) -> None:
    again = computed(adapted, **adaptation)
    assert again.outcome == "reused"
    assert {name: rival.folder.key for name, rival in again.rivals.items()} == {
        name: rival.folder.key for name, rival in once.rivals.items()
    }


def test_a_candidate_with_thresholds_has_to_beat_baselines_with_thresholds_of_their_own(
    adapted: Line, once: Baselines
) -> None:
    task, targets = TASKS[adapted.data.task], split_targets(adapted.data, "validation").numpy()
    train, validation = (LabelledTexts.of(adapted.data, side) for side in LABELLED)
    rivals = computed(adapted, answers="thresholds").rivals
    words, held = (
        rivals["tfidf"].predictions(),
        answers_on_words(adapted.data, train, validation, validation.texts, adapted.settings.adaptation),
    )
    outputs = task.outputs.outputs_for(adapted.data.labels, split_targets(adapted.data, "train"))
    tuned = dataclasses.replace(outputs, thresholds=task.scores.thresholds(held, targets))
    np.testing.assert_array_equal(answers_in(words), task.outputs.given(tuned, words))
    for name in CHEAP:
        assert answers_in(rivals[name].predictions()) is not None
        assert answers_in(once.rivals[name].predictions()) is None
        np.testing.assert_array_equal(np.asarray(rivals[name].predictions()), once.rivals[name].predictions())
    assert answers_in(rivals["majority"].predictions()) is None  # it has one answer


def test_what_is_read_of_a_row_is_another_baseline(adapted: Line, once: Baselines) -> None:
    shorter = computed(adapted, max_tokens=8)
    assert shorter.rivals["frozen_head"].folder.outcome == "ran"
    assert shorter.rivals["tfidf"].folder.outcome == shorter.rivals["majority"].folder.outcome == "reused"


def test_the_frozen_head_is_what_that_strategy_makes(adapted: Line, once: Baselines) -> None:
    chosen = changed(adapted.settings, strategy="feature_extraction")
    checkpoint = fine_tune.fn(adapted.workspace, chosen.adaptation, adapted.data, adapted.base)
    theirs = predictor_of(checkpoint.model).predict(raw_inputs(adapted.workspace, adapted.data, "test"))
    assert np.array_equal(once.rivals["frozen_head"].predictions(), theirs)


def test_a_candidate_that_is_the_frozen_base_model_itself_is_not_compared_with_itself(adapted: Line) -> None:
    found = computed(adapted, strategy="feature_extraction")
    assert "frozen_head" not in found.rivals
    assert found.left_out["frozen_head"] == "this candidate is that model itself"
    assert "frozen_head" in computed(adapted, strategy="feature_extraction", head="mlp").rivals


def test_no_model_but_the_frozen_one_is_kept_beside_its_predictions(once: Baselines) -> None:
    for name, rival in once.rivals.items():
        names = {path.name for path in rival.folder.path.iterdir()}
        # What changed inputs are asked of, too, has to stay.
        assert names - ({"model"} if name == "frozen_head" else set()) - {"features.json"} == {
            "baseline.json", "predictions.npy", "manifest.json",
        }  # fmt: skip


def test_a_training_from_scratch_that_diverges_loses_no_run(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(*_: object, **__: object) -> None:
        raise DivergedError("the loss is no longer a finite number")

    monkeypatch.setattr(step, "adapt_base", diverging)
    found = computed(adapted, ["scratch"], max_tokens=9)
    assert (list(found.rivals), found.left_out["scratch"]) == (["majority"], "its training diverged")


def test_the_frozen_head_reads_what_the_adaptation_kept(adapted: Line) -> None:
    changed = {"runtime": "openvino", "feature_precision": "bfloat16", "threads": 3, "max_tokens": 77}
    chosen = adapted.settings.adaptation.model_copy(update=changed)
    frozen = frozen_head_settings(adapted.settings.model_copy(update={"adaptation": chosen}))
    assert {name: getattr(frozen, name) for name in changed} == changed


def test_scratch_has_the_budget_of_the_adaptation_and_rates_of_its_own(adapted: Line) -> None:
    given = {"epochs": 5, "runs": 2, "batch_size": 8, "gradient_accumulation": 2, "max_tokens": 16, "l2_sp": 0.5}
    chosen = scratch_settings(changed(adapted.settings, strategy="lora", layer_decay=0.5, learning_rate=1.0, **given))
    assert (chosen.strategy, chosen.epochs, chosen.runs, chosen.l2_sp, chosen.layer_decay) == (
        "fine_tuning", 10, 1, 0.0, 1.0,
    )  # fmt: skip
    assert (chosen.batch_size, chosen.gradient_accumulation, chosen.max_tokens) == (8, 2, 16)
    assert chosen.learning_rate == chosen.head_learning_rate == SCRATCH_RATE
    assert frozen_head_settings(adapted.settings).strategy == "feature_extraction"


def pretrained(folder: Path, epochs: int = 6) -> None:
    """Teach the tiny base model in `folder` which words are good, on other texts than a project's."""
    model, rows = (
        tiny_classifier(folder),
        {"train": tiny_rows(folder, 600), "validation": tiny_rows(folder, 60, seed=1)},
    )
    settings = AdaptationSettings(
        strategy="fine_tuning", epochs=epochs, batch_size=32, learning_rate=5e-3, head_learning_rate=1e-2,
        max_tokens=32, threads=1, device="cpu",
    )  # fmt: skip
    Adaptation(
        model,
        rows,
        settings,
        objective_for,
        stores=lambda point: pytest.fail(f"{point} needs no store"),
        folder=folder / "work",
    ).run()
    shutil.rmtree(folder / "work")
    model.family.save(model.backbone, folder)


def drowned_in_noise(folder: Path) -> None:
    """Weights with which the base model's layers are saturated."""
    torch.manual_seed(3)
    weights = load_file(folder / "model.safetensors")
    noisy = {name: 4 * torch.randn_like(tensor) if tensor.ndim > 1 else tensor for name, tensor in weights.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})


def line_of(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, prepare: Any, *assignments: str
) -> Line:
    """A tiny project whose base model was prepared, judged beside scratch alone."""
    root = write_project(tmp_path / "project")
    prepare(root / "base")
    lock_model(Workspace(root), "path:base")
    write_policy(root, baselines=["scratch"])
    git(root, "commit", "--quiet", "--all", "--message", "another base model")
    connected(root, empty_store, monkeypatch)
    return run_line(root, list(assignments))


def transfer(line: Line) -> Axis:
    return next(axis for axis in line.decision.axes if axis.name == "negative transfer")


@pytest.mark.full
def test_a_base_model_that_helps_is_shown_to_help(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(tmp_path, empty_store, monkeypatch, pretrained, "adaptation.epochs=4")
    (scratch, frozen_head) = transfer(line).parts
    assert (scratch.name, scratch.outcome) == ("scratch", "win")
    assert (frozen_head.name, frozen_head.outcome) == ("frozen_head", "unknown")
    assert line.decision.verdict == "PROMOTE"
    _check_where_it_is_shown(line)


def _check_where_it_is_shown(line: Line) -> None:
    name = "the same architecture trained from scratch for 4 epochs"
    seen = line.evaluation.baselines["scratch"].scores["accuracy"]
    shown = f"{seen.value:.4f} ({seen.low:.4f} – {seen.high:.4f})"
    report, card = line.report.read_text(encoding="utf-8"), (line.workspace.reports / "model_card.md").read_text()
    assert name in report
    assert shown in report
    assert f"| {name} | {seen.value:.4f} | {seen.low:.4f} to {seen.high:.4f} |" in card
    assert "| tfidf | not compared: left out by the promotion policy |" in card
    written = json.loads((line.evaluation.folder.path / "evaluation.json").read_text())
    assert written["baselines"]["scratch"]["scores"]["accuracy"] == dataclasses.asdict(seen)


@pytest.mark.full
def test_a_model_that_transfer_made_worse_is_rejected_and_told_so(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(
        tmp_path, empty_store, monkeypatch, drowned_in_noise,
        "adaptation.epochs=40", "adaptation.learning_rate=1e-5", "adaptation.head_learning_rate=1e-4",
    )  # fmt: skip
    assert line.decision.verdict == "REJECT"
    reason = next(reason for reason in line.decision.reasons if reason.startswith("negative transfer: "))
    assert "does not beat the same architecture trained from scratch for 40 epochs" in reason
    assert transfer(line).parts[0].outcome == "loss"
    assert all(name in BASELINES for name in line.evaluation.left_out)
