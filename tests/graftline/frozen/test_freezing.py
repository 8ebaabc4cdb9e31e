"""Freezing: what is frozen, in every architecture and strategy, and the proof that it stays."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.frozen.freezing import (
    FreezePoint,
    execution_order,
    freeze,
    frozen_sha256,
    learned,
    train_mode,
)
from graftline.models.blocks import find_blocks
from graftline.models.classifier import Classifier
from graftline.settings.adaptation import Strategy
from tests.support.tiny_models import (
    ARCHITECTURES,
    BLOCK_LIST,
    BLOCKS,
    EMBEDDINGS,
    Architecture,
    tiny_classifier,
    tiny_rows,
    write_tiny_model,
)

STRATEGIES: list[tuple[Strategy, str | None]] = [
    ("feature_extraction", None),
    ("partial", "1"),
    ("partial", "2"),
    ("fine_tuning", None),
]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "base")


def example(folder: Path) -> dict[str, Tensor]:
    return tiny_rows(folder, 4).batch(range(4))


def frozen_model(folder: Path, strategy: Strategy, freeze_until: str | None) -> tuple[Classifier, FreezePoint]:
    model = tiny_classifier(folder)
    return model, freeze(model, strategy, freeze_until, example=example(folder))


def learn(model: Classifier, point: FreezePoint, batch: dict[str, Tensor]) -> None:
    """Three steps with weight decay and momentum, which move whatever is not frozen."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    train_mode(model, point)
    for _ in range(3):
        nn.functional.cross_entropy(model(**batch), torch.tensor([0, 1, 0, 1])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("strategy", "freeze_until"), STRATEGIES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_frozen_weights_and_buffers_are_bit_identical_after_training(
    tmp_path: Path, architecture: Architecture, strategy: Strategy, freeze_until: str | None
) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, point = frozen_model(folder, strategy, freeze_until)
    before = {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    digest = frozen_sha256(model, point)
    learn(model, point, example(folder))
    after = dict([*model.named_parameters(), *model.named_buffers()])
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert frozen_sha256(model, point) == digest
    assert changed.isdisjoint(point.frozen_parameters)
    # Keys' biases cancel in the softmax, so their gradient is rounding or nothing.
    unmoved = set(point.trainable_parameters) - changed
    assert all("key.bias" in name or "k_lin.bias" in name for name in unmoved)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_partial_freezes_the_embeddings_and_the_blocks_in_front_of_the_named_one(
    tmp_path: Path, architecture: Architecture
) -> None:
    model, point = frozen_model(write_tiny_model(tmp_path / "base", architecture), "partial", "2")
    in_front = (*EMBEDDINGS[architecture], f"{BLOCK_LIST[architecture]}.0.", f"{BLOCK_LIST[architecture]}.1.")
    assert set(point.frozen_parameters) == {name for name, _ in model.named_parameters() if name.startswith(in_front)}
    assert point.first_trainable == f"{BLOCK_LIST[architecture]}.2"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_feature_extraction_trains_the_head_only(tmp_path: Path, architecture: Architecture) -> None:
    model, point = frozen_model(write_tiny_model(tmp_path / "base", architecture), "feature_extraction", None)
    assert point.trainable_parameters == ("head.1.weight", "head.1.bias")
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        "head.1.weight",
        "head.1.bias",
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fine_tuning_freezes_nothing(tmp_path: Path, architecture: Architecture) -> None:
    model, point = frozen_model(write_tiny_model(tmp_path / "base", architecture), "fine_tuning", None)
    assert (point.frozen_parameters, point.description) == ((), "nothing")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezing_less_afterwards_lets_parameters_learn_again(bert: Path) -> None:
    model, _ = frozen_model(bert, "feature_extraction", None)
    freeze(model, "fine_tuning", None, example=example(bert))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("freeze_until", ["2", "0.67", "encoder.layer.2", "layer.2", "backbone.encoder.layer.2"])
def test_a_block_is_named_by_number_share_or_name(bert: Path, freeze_until: str) -> None:
    _, point = frozen_model(bert, "partial", freeze_until)
    assert point.first_trainable == "backbone.encoder.layer.2"


@pytest.mark.parametrize(
    "freeze_until",
    ["", "0", "3", "99", "-1", "0.0", "1.0", "0.01", "2.5", "nan", "inf", "1e999", "²", "layer", "layer.7", "head"],
)
def test_nonsense_is_refused_with_what_would_do(bert: Path, freeze_until: str) -> None:
    expected = r"names no single block .* a number from 1 to 2, a share .* or one of backbone\.encoder\.layer\.1, "
    with pytest.raises(SettingsError, match=expected):
        frozen_model(bert, "partial", freeze_until)


def test_a_refused_freeze_point_leaves_the_model_as_it_was(bert: Path) -> None:
    model = tiny_classifier(bert)
    with pytest.raises(SettingsError):
        freeze(model, "partial", "layer.7", example=example(bert))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("strategy", "freeze_until"), STRATEGIES[:3])
def test_dropout_is_off_in_the_frozen_part_and_on_behind_it(
    bert: Path, strategy: Strategy, freeze_until: str | None
) -> None:
    model, point = frozen_model(bert, strategy, freeze_until)
    order = execution_order(model, example(bert))
    cut = order.index(str(point.first_trainable))
    train_mode(model, point)
    leaves = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert {name: module.training for name, module in leaves if name in order} == {
        name: order.index(name) >= cut for name, _ in leaves if name in order
    }
    assert (model.training, model.head[0].training) == (True, True)


def test_attention_dropout_follows_its_block(bert: Path) -> None:
    model, point = frozen_model(bert, "partial", "2")
    train_mode(model, point)
    modes = [model.get_submodule(f"{block}.attention.self").training for block in find_blocks(model)]
    assert modes == [False, False, True]


def test_what_enters_the_trainable_part_is_the_same_in_every_training_step(bert: Path) -> None:
    model, point = frozen_model(bert, "partial", "2")
    train_mode(model, point)
    seen: list[Tensor] = []
    model.get_submodule(str(point.first_trainable)).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    first, second = model(**example(bert)), model(**example(bert))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(first, second)  # dropout behind the cut


def test_looking_at_the_order_of_execution_changes_no_mode(bert: Path) -> None:
    model, point = frozen_model(bert, "partial", "1")
    train_mode(model, point)
    before = {name: module.training for name, module in model.named_modules()}
    execution_order(model, example(bert))
    assert {name: module.training for name, module in model.named_modules()} == before


def test_a_frozen_weight_that_was_tampered_with_is_noticed(bert: Path) -> None:
    model, point = frozen_model(bert, "partial", "1")
    before = frozen_sha256(model, point)
    with torch.no_grad():
        model.get_parameter(point.frozen_parameters[-1]).view(-1)[-1] += 1e-6
    assert frozen_sha256(model, point) != before


def test_a_frozen_buffer_that_was_tampered_with_is_noticed(bert: Path) -> None:
    model, point = frozen_model(bert, "partial", "1")
    before = frozen_sha256(model, point)
    model.get_buffer("backbone.embeddings.position_ids")[0, -1] += 1
    assert frozen_sha256(model, point) != before


class Mixer(nn.Module):
    """A model of blocks with attention whose output weights are read without entering their module, and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.blocks = nn.ModuleList([nn.MultiheadAttention(4, 2, batch_first=True) for _ in range(3)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.inlet(x).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            hidden = hidden + block(hidden, hidden, hidden)[0]
        logits: Tensor = self.head(hidden.mean(1))
        return logits


def test_weights_that_are_read_without_entering_their_module_belong_to_the_block_that_reads_them() -> None:
    point = freeze(Mixer(), "partial", "1", example={"x": torch.randn(2, 3, 4)})
    assert [name for name in point.trainable_parameters if "out_proj" in name] == [
        f"blocks.{block}.out_proj.{part}" for block in (1, 2) for part in ("weight", "bias")
    ]


def test_the_statistics_of_a_frozen_batch_norm_stand_still() -> None:
    torch.manual_seed(0)
    model = Mixer()
    point = freeze(model, "partial", "1", example={"x": torch.randn(2, 3, 4)})
    before = frozen_sha256(model, point)
    train_mode(model, point)
    model(x=torch.randn(2, 3, 4))
    assert frozen_sha256(model, point) == before
    model.train()(x=torch.randn(2, 3, 4))
    assert frozen_sha256(model, point) != before


def test_statistics_stand_still_where_the_factors_learn_if_the_freeze_point_says_so() -> None:
    torch.manual_seed(0)
    model = Mixer()
    point = freeze(model, "fine_tuning", None, example={"x": torch.randn(2, 3, 4)})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for still in (True, False):
        train_mode(model, replace(point, still_statistics=still))
        assert [norm.training for norm in norms] == [not still] * len(norms)
        assert all(parameter.requires_grad for norm in norms for parameter in norm.parameters())


def test_still_statistics_that_were_tampered_with_are_noticed() -> None:
    model = Mixer()
    point = freeze(model, "fine_tuning", None, example={"x": torch.randn(2, 3, 4)})
    still = replace(point, still_statistics=True)
    before = frozen_sha256(model, point), frozen_sha256(model, still)
    model.get_buffer("norm.running_mean")[0] += 1e-6
    assert (frozen_sha256(model, point) == before[0], frozen_sha256(model, still) == before[1]) == (True, False)


def test_training_changes_the_statistics_that_are_not_still() -> None:
    model = Mixer()
    point = freeze(model, "fine_tuning", None, example={"x": torch.randn(2, 3, 4)})
    names = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    for still in (True, False):
        changes = learned(model, replace(point, still_statistics=still)).keys()
        assert names & changes == (set() if still else names)


class Flat(nn.Module):
    """A model without a list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


@pytest.mark.parametrize(("strategy", "frozen"), [("feature_extraction", 2), ("fine_tuning", 0)])
def test_a_model_without_blocks_can_be_trained_whole_or_at_its_head(strategy: Strategy, frozen: int) -> None:
    point = freeze(Flat(), strategy, None, example={"x": torch.randn(2, 4)})
    assert len(point.frozen_parameters) == frozen


def test_a_model_without_blocks_has_no_depth_to_freeze_to() -> None:
    with pytest.raises(SettingsError, match=r"no list of equal blocks .* use adaptation\.strategy"):
        freeze(Flat(), "partial", "1", example={"x": torch.randn(2, 4)})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_blocks_are_the_layers_in_order(tmp_path: Path, architecture: Architecture) -> None:
    model = tiny_classifier(write_tiny_model(tmp_path / "base", architecture))
    assert find_blocks(model) == tuple(f"{BLOCK_LIST[architecture]}.{number}" for number in range(BLOCKS))
