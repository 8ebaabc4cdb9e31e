"""Adaptation to rows of several labels and to numbers: learned, repeated, and answered the same once saved."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from graftline.answers.tasks import TASKS
from graftline.digests import tensors_sha256
from graftline.errors import DataRefusedError
from graftline.frozen.rows import InputRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_classifier, save_classifier
from graftline.models.regression import OUTPUTS as NUMBERS
from graftline.settings import Task
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict
from tests.support.tiny_models import READING, tiny_rows, write_tiny_model


@dataclass(frozen=True)
class Ran:
    model: Classifier
    lowest_loss: float
    held: InputRows

    @property
    def sha256(self) -> str:
        return tensors_sha256(dict(self.model.state_dict()))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def ran(base: Path, folder: Path, task: Task, **chosen: Any) -> Ran:
    """The rows of one label, each label by itself or with a number for each of the two."""
    settings = AdaptationSettings(
        batch_size=16, learning_rate=5e-3, head_learning_rate=1e-2, seed=3, device="cpu", **chosen
    )
    rows = {"train": tiny_rows(base, 256), "validation": tiny_rows(base, 64, seed=1)}
    read = {
        split: 50.0 + 7 * of.targets[:, None] if task == "regression" else torch.nn.functional.one_hot(of.targets)
        for split, of in rows.items()
    }
    kind = TASKS[task].outputs
    outputs = kind.outputs_for(("bad", "good"), read["train"])
    rows = {split: replace(of, targets=kind.as_learned(outputs, read[split])) for split, of in rows.items()}
    model = load_base(base, outputs, reading=READING, seed=settings.seed, head=settings.head)
    adapted = Adaptation(
        model,
        rows,
        settings,
        TASKS[task].objective_for,
        lambda point: FeatureStore(folder / str(point.first_trainable)),
        folder / "checkpoints",
    ).run()
    return Ran(model, min(epoch.train_loss for epoch in adapted.epochs), rows["validation"])


@pytest.mark.parametrize("task", ["multi_label", "regression"])
@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "feature_extraction"},
        pytest.param(
            {"strategy": "partial", "freeze_until": "1", "epochs": 8, "average": "greedy"}, marks=pytest.mark.full
        ),
        pytest.param(
            {"strategy": "probe_then_fine_tune", "epochs": 12, "class_weights": "logit_adjusted"},
            marks=pytest.mark.full,
        ),
    ],
    ids=lambda chosen: chosen["strategy"],
)
def test_other_tasks_are_learned_repeated_and_answered_the_same_once_saved(
    base: Path, tmp_path: Path, task: Task, chosen: dict[str, Any]
) -> None:
    first, second = (ran(base, tmp_path / name, task, **chosen) for name in ("first", "second"))
    assert first.sha256 == second.sha256
    # A tiny model with random weights learns little, but more than one that answers each row alike.
    assert first.lowest_loss < (1.0 if task == "regression" else math.log(2))
    (tmp_path / "model").mkdir()
    save_classifier(first.model, first.held.preprocessor, tmp_path / "model")
    loaded = load_classifier(tmp_path / "model")
    assert loaded.outputs == first.model.outputs
    assert torch.equal(predict(first.model, first.held, batch_size=8), predict(loaded, first.held, batch_size=8))


def test_a_regression_answers_in_the_unit_of_its_targets(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, "regression", strategy="fine_tuning", epochs=8)
    answers = NUMBERS.answers(done.model.outputs, predict(done.model, done.held, batch_size=8))
    # The numbers are 50 and 57.
    assert 48 < float(answers.mean()) < 59
    assert done.model.outputs.spread == pytest.approx(3.5)


@pytest.mark.parametrize("numbers", [["1", "2", "1e200"], ["1e308", "1e308", "1e308"]])
def test_numbers_without_a_finite_standard_deviation_are_refused(numbers: list[str]) -> None:
    train = NUMBERS.read(numbers, [], "|")
    with pytest.raises(
        DataRefusedError, match=r"reach from 1\S* to 1e\+\d+, .* expected a finite number; correct or remove"
    ):
        NUMBERS.outputs_for([], train)


@pytest.mark.parametrize("number", ["1e40", "-1e20"])
def test_a_number_whose_squared_error_float32_cannot_hold_is_refused(number: str) -> None:
    outputs = NUMBERS.outputs_for([], NUMBERS.read(["1", "2", "3"], [], "|"))
    with pytest.raises(
        DataRefusedError,
        match=rf"the target {re.escape(f'{float(number):g}')} is too far .* mean is 2 .* correct or remove",
    ):
        NUMBERS.as_learned(outputs, NUMBERS.read(["1", number, "5"], [], "|"))
    assert NUMBERS.as_learned(outputs, NUMBERS.read(["1e15"], [], "|")).square().isfinite().all()


def test_an_outlier_among_the_training_rows_is_standardised_with_them() -> None:
    train = NUMBERS.read(["1", "2", "1e40"], [], "|")
    assert NUMBERS.as_learned(NUMBERS.outputs_for([], train), train).abs().max() < 2
