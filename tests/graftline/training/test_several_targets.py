"""Several targets at once: each row counts where it has a target, heads are solved alone, balance is learned along."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graftline.answers.predicting import predictor_of
from graftline.answers.tasks import TASKS
from graftline.digests import tensors_sha256
from graftline.frozen.rows import FeatureRows, InputRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_classifier, save_classifier
from graftline.models.outputs import FurtherOutputs, Outputs, by_target, parts_of
from graftline.models.several import beside_one_another, learned_of
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.linear_head import solve_head
from graftline.training.several import ObjectiveOfTargets, SeveralTargets
from graftline.training.solved_heads import solve_heads
from graftline.training.strategies import Adaptation
from tests.support.tiny_models import READING, tiny_rows, write_tiny_model

OUTPUTS = Outputs(
    "single_label",
    ("bad", "good"),
    further=(
        FurtherOutputs("rating", Outputs("regression", mean=50.0, spread=3.5)),
        FurtherOutputs("words", Outputs("multi_label", ("long", "loud", "sad"))),
    ),
)
KINDS = {name: task.outputs for name, task in TASKS.items()}
OBJECTIVE_FOR = ObjectiveOfTargets({name: task.objective_for for name, task in TASKS.items()})


def targets_of(labels: Tensor, seed: int = 0, share: float = 0.7) -> Tensor:
    """A number and three labels that follow from the labels, of which each row lacks some."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.rand(len(labels), generator=generator) < share for _ in range(3)]
    rows[0] |= ~(rows[1] | rows[2])
    words = torch.stack([labels, 1 - labels, labels], dim=1)
    each = [labels, 50.0 + 7 * labels[:, None].double(), words]
    return beside_one_another(OUTPUTS, [one[has] for one, has in zip(each, rows, strict=True)], rows, KINDS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def rows_of(base: Path) -> dict[str, InputRows]:
    rows = {"train": tiny_rows(base, 192), "validation": tiny_rows(base, 64, seed=1)}
    return {split: replace(of, targets=targets_of(of.targets)) for split, of in rows.items()}


def adapted(base: Path, folder: Path, **chosen: Any) -> tuple[Classifier, Adaptation, list[str]]:
    settings = AdaptationSettings(learning_rate=5e-3, head_learning_rate=1e-2, seed=3, device="cpu", **chosen)
    model = load_base(base, OUTPUTS, reading=READING, seed=settings.seed, head=settings.head)
    stores, said = lambda point: FeatureStore(folder / str(point.first_trainable)), list[str]()
    adaptation = Adaptation(model, rows_of(base), settings, OBJECTIVE_FOR, stores, folder / "checkpoints")
    adaptation = replace(adaptation, listener=replace(adaptation.listener, say=said.append))
    adaptation.run()
    return model, adaptation, said


def test_the_parts_of_the_outputs_cover_them_in_order() -> None:
    assert OUTPUTS.width == 6
    assert [(part.name, part.columns) for part in parts_of(OUTPUTS)] == [
        (None, slice(0, 2)), ("rating", slice(2, 3)), ("words", slice(3, 6)),
    ]  # fmt: skip


def test_targets_beside_one_another_come_apart_again() -> None:
    rows = [torch.tensor(has) for has in ([True, True, False], [False, True, True], [True, False, False])]
    each = [torch.tensor([1, 0]), torch.tensor([[57.0], [43.0]]).double(), torch.tensor([[1, 0, 1]])]
    targets = beside_one_another(OUTPUTS, each, rows, KINDS)
    label, rating, words = learned_of(OUTPUTS, targets)
    assert label.targets.tolist() == [1, 0]
    assert rating.targets.tolist() == [[2.0], [-2.0]]  # standardised
    assert words.targets.tolist() == [[1.0, 0.0, 1.0]]
    values = torch.tensor([10, 11, 12])
    assert [one.of(values).tolist() for one in (label, rating, words)] == [[10, 11], [11, 12], [10]]


def test_over_an_epoch_the_batches_give_the_loss_of_all_rows_and_each_target_its_mean() -> None:
    targets, outputs = targets_of(torch.arange(60) % 2, seed=5, share=0.4), torch.randn(60, 6)
    objective = OBJECTIVE_FOR(OUTPUTS, targets)
    parts = [objective.loss(outputs[start : start + 6], targets[start : start + 6]) for start in range(0, 60, 6)]
    whole = objective.loss(outputs, targets)
    assert torch.stack(parts).mean() == pytest.approx(float(whole), rel=1e-5)
    alone = [
        TASKS[own.part.outputs.task]
        .objective_for(own.part.outputs, own.targets)
        .loss(own.of(outputs)[:, own.part.columns], own.targets)
        for own in learned_of(OUTPUTS, targets)
    ]
    assert float(whole) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-5)


def test_a_target_that_no_row_of_a_batch_has_teaches_nothing() -> None:
    targets = targets_of(torch.arange(30) % 2)
    objective, outputs = OBJECTIVE_FOR(OUTPUTS, targets), torch.randn(4, 6, requires_grad=True)
    batch = targets[:4].clone()
    batch[:, 1] = torch.nan
    loss = objective.loss(outputs, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert loss.isfinite()
    assert not outputs.grad[:, 2].any()
    assert outputs.grad[:, 3:].any()


def test_with_learned_variances_the_lowest_loss_weighs_each_target_by_its_own_loss() -> None:
    targets, outputs = targets_of(torch.arange(60) % 2), torch.randn(60, 6)
    objective = OBJECTIVE_FOR(OUTPUTS, targets)
    assert isinstance(objective, SeveralTargets)
    variances = torch.zeros(3, requires_grad=True)
    learning = replace(objective, log_variances=variances)
    optimizer = torch.optim.LBFGS([variances], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = learning.loss(outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    losses = [
        goal.loss(own.of(outputs)[:, own.part.columns], own.targets)
        for own, goal in zip(learned_of(OUTPUTS, targets), objective.objectives, strict=True)
    ]
    # The zero of the derivative of the paper's likelihood: variance = loss for numbers, twice the loss for labels.
    expected = torch.stack([2 * losses[0], losses[1], 2 * losses[2]])
    assert torch.exp(variances.detach()).tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_solved_heads_are_those_that_each_target_has_alone() -> None:
    drawn = torch.Generator().manual_seed(0)
    rows = {
        split: FeatureRows(torch.randn(count, 8, generator=drawn), targets_of(torch.arange(count) % 2, seed=count))
        for split, count in (("train", 90), ("validation", 45))
    }
    found = solve_heads(OUTPUTS, rows, OBJECTIVE_FOR(OUTPUTS, rows["train"].targets))
    learned, judged = (learned_of(OUTPUTS, rows[split].targets) for split in ("train", "validation"))
    for own, beside, penalty in zip(learned, judged, found.penalties, strict=True):
        outputs = own.part.outputs
        alone = solve_head(
            own.of(rows["train"].features),
            own.targets,
            validation=(beside.of(rows["validation"].features), beside.targets),
            outputs=outputs.width,
            objective=TASKS[outputs.task].objective_for(outputs, own.targets),
        )
        assert penalty == alone.penalty
        assert torch.equal(found.weight[own.part.columns], alone.weight)
        assert torch.equal(beside.of(found.validation_outputs)[:, own.part.columns], alone.validation_outputs)


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "feature_extraction"},
        {"strategy": "probe_then_fine_tune", "epochs": 4, "task_balance": "uncertainty"},
        pytest.param({"strategy": "partial", "freeze_until": "1", "epochs": 4}, marks=pytest.mark.full),
        pytest.param({"strategy": "feature_extraction", "head": "mlp", "epochs": 4}, marks=pytest.mark.full),
        pytest.param({"strategy": "lora", "epochs": 4, "task_balance": "uncertainty"}, marks=pytest.mark.full),
        pytest.param({"strategy": "gradual_unfreezing", "epochs": 4, "runs": 2}, marks=pytest.mark.full),
        pytest.param({"strategy": "bias_only", "epochs": 4, "average": "greedy"}, marks=pytest.mark.full),
    ],
    ids=lambda chosen: chosen["strategy"],
)
def test_every_strategy_learns_all_targets_and_answers_the_same_once_saved(
    base: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    (model, adaptation, said), (again, _, _) = (adapted(base, tmp_path / run, **chosen) for run in ("one", "two"))
    assert tensors_sha256(dict(model.state_dict())) == tensors_sha256(dict(again.state_dict()))
    assert any("weighed by uncertainty" in line for line in said) == ("task_balance" in chosen)
    assert {name for name, _ in model.head.named_parameters(recurse=False)} == set()
    (tmp_path / "model").mkdir()
    save_classifier(model, adaptation.rows["train"].preprocessor, tmp_path / "model")
    assert load_classifier(tmp_path / "model").outputs == OUTPUTS
    predictor = predictor_of(tmp_path / "model")
    together = predictor.predict(["a good film", "an awful plot"])
    each = [predictor.of_target(name).predict(["a good film", "an awful plot"]) for name in (None, "rating", "words")]
    assert np.array_equal(together, np.concatenate(each, axis=1))
    columns = predictor.columns(together)
    assert list(columns) == ["label", "probabilities", "rating.value", "words.labels", "words.probabilities"]
    assert by_target({name: values[0] for name, values in columns.items()})["rating"] == {"value": float(each[1][0, 0])}


def test_of_one_target_the_description_is_as_it_was() -> None:
    assert "further" not in OUTPUTS.alone.as_json()
    assert set(OUTPUTS.alone.as_json()) == {"task", "labels", "mean", "spread", "temperature"}
