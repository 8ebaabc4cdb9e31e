"""Relative gradient norms against plain autograd, written a second time; and what asking for them leaves alone."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graftline.answers.tasks import TASKS
from graftline.digests import tensors_sha256
from graftline.frozen.rows import InputRows
from graftline.models.batching import shuffled_batches
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base
from graftline.settings import Task
from graftline.training.objective import Objective
from graftline.transfer.gradients import BATCHES, BlockGradient, block_gradients, first_to_tune
from tests.support.tiny_models import READING, tiny_rows, write_tiny_model

ROWS, BATCH, SEED = 50, 4, 3
BLOCKS = tuple(f"backbone.encoder.layer.{place}" for place in range(3))
TARGETS: dict[Task, list[str]] = {
    "single_label": ["bad", "good"],
    "multi_label": ["bad", "bad|good", "good"],
    "regression": ["1.5", "-2", "0"],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("base"))


def asked(base: Path, task: Task) -> tuple[Classifier, InputRows, Objective]:
    """A model of this task with a head of its own, rows, and the loss."""
    kind, labels = TASKS[task].outputs, () if task == "regression" else ("bad", "good")
    read = kind.read([TARGETS[task][row % len(TARGETS[task])] for row in range(ROWS)], labels, "|")
    outputs = kind.outputs_for(labels, read)
    rows = replace(tiny_rows(base, ROWS), targets=kind.as_learned(outputs, read))
    return load_base(base, outputs, reading=READING, seed=1), rows, TASKS[task].objective_for(outputs, rows.targets)


def gradients_of(model: Classifier, rows: InputRows, objective: Objective) -> tuple[BlockGradient, ...]:
    return block_gradients(model, rows, objective, BLOCKS, batch_size=BATCH, seed=SEED)


def by_hand(model: Classifier, rows: InputRows, loss: torch.nn.Module) -> dict[str, list[float]]:
    """For each block the relative norm of each batch: everything learns, and `backward` fills `grad`."""
    model.eval().requires_grad_(True)
    found: dict[str, list[float]] = {block: [] for block in BLOCKS}
    for batch in shuffled_batches(rows.lengths, BATCH, seed=SEED, epoch=0)[:BATCHES]:
        model.zero_grad()
        loss(model(**rows.preprocessor.collate([rows.encoded[row] for row in batch])), rows.targets[batch]).backward()
        for block in BLOCKS:
            own = [tensor for name, tensor in model.named_parameters() if name.startswith(f"{block}.")]
            pull = torch.cat([tensor.grad.flatten() for tensor in own if tensor.grad is not None])
            found[block].append(float(pull.norm() / torch.cat([tensor.detach().flatten() for tensor in own]).norm()))
    return found


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("single_label", torch.nn.CrossEntropyLoss()),
        ("multi_label", torch.nn.BCEWithLogitsLoss()),
        ("regression", torch.nn.MSELoss()),
    ],
)
def test_each_block_has_the_norm_that_plain_autograd_gives(base: Path, task: Task, loss: torch.nn.Module) -> None:
    found = gradients_of(*asked(base, task))
    model, rows, _ = asked(base, task)
    expected = by_hand(model, rows, loss)
    assert [one.block for one in found] == list(BLOCKS)
    for one in found:
        each = expected[one.block]
        assert len(each) == BATCHES
        assert (one.value, one.low, one.high) == pytest.approx((sum(each) / BATCHES, min(each), max(each)), rel=1e-4)


def test_asked_twice_they_are_the_same_and_the_model_is_left_as_it_was(base: Path) -> None:
    model, rows, objective = asked(base, "single_label")
    model.train()
    model.backbone.get_parameter("embeddings.word_embeddings.weight").requires_grad_(False)
    before = tensors_sha256(dict(model.state_dict()))
    learned = [tensor.requires_grad for tensor in model.parameters()]
    assert gradients_of(model, rows, objective) == gradients_of(model, rows, objective)
    assert tensors_sha256(dict(model.state_dict())) == before
    assert [tensor.requires_grad for tensor in model.parameters()] == learned
    assert all(tensor.grad is None for tensor in model.parameters())
    assert all(module.training for module in model.modules())


def test_rows_that_count_nothing_pull_at_nothing(base: Path) -> None:
    model, rows, objective = asked(base, "single_label")
    one = gradients_of(model, replace(rows, weights=torch.ones(ROWS)), objective)
    none = gradients_of(model, replace(rows, weights=torch.zeros(ROWS)), objective)
    assert all(gradient.value > 0 for gradient in one)
    assert first_to_tune(none) is None


def test_a_model_without_blocks_has_nothing_to_tell(base: Path) -> None:
    assert block_gradients(*asked(base, "single_label"), (), batch_size=BATCH, seed=SEED) == ()


@pytest.mark.parametrize(
    ("norms", "first"),
    [
        ([1.0, 2.0, 4.0], 1),
        ([4.0, 1.0, 4.0], 0),
        ([1.0, 1.9, 4.0], 2),
        ([0.0, 0.0], None),
        ([1.0, math.inf], None),
        ([math.nan, 1.0], None),
        ([], None),
    ],
)
def test_tuning_begins_where_a_norm_is_half_of_the_largest(norms: Sequence[float], first: int | None) -> None:
    assert first_to_tune([BlockGradient("block", norm, norm, norm) for norm in norms]) == first
