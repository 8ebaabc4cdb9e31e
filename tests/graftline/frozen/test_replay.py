"""Replay: the frozen part runs once, and nothing that follows can tell."""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.frozen.filling import fill
from graftline.frozen.freezing import FreezePoint, freeze, train_mode
from graftline.frozen.keys import row_keys
from graftline.frozen.replay import capture, plan_replay, replaying
from graftline.frozen.rows import InputRows, ReplayedRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.settings.adaptation import Strategy
from graftline.training.loop import train
from graftline.training.plan import Plan, Rows, Training
from graftline.training.progress import Epoch
from graftline.training.single_label import OneLabel
from tests.support.tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_rows, write_tiny_model

pytestmark = pytest.mark.full

CUTS: list[tuple[Strategy, str | None]] = [("partial", "1"), ("partial", "2"), ("feature_extraction", None)]
PLAN = Plan(
    epochs=2,
    batch_size=4,
    learning_rate=1e-3,
    head_learning_rate=1e-2,
    weight_decay=0.01,
    warmup_share=0.1,
    precision="float32",
    patience=0,
    seed=3,
)


def prepared(folder: Path, strategy: Strategy, freeze_until: str | None) -> tuple[Classifier, FreezePoint]:
    model, rows = tiny_classifier(folder), tiny_rows(folder, 2)
    example = rows.batch(range(len(rows.encoded)))
    return model, freeze(model, strategy, freeze_until, example=example)


@dataclass(frozen=True)
class CapturedRows:
    """Rows whose frozen part is captured by a twin model in the very batch in which it is replayed."""

    rows: InputRows
    twin: Classifier
    point: FreezePoint
    give: object

    @property
    def lengths(self) -> Sequence[int]:
        return self.rows.lengths

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    @property
    def weights(self) -> Tensor | None:
        return self.rows.weights

    def in_epoch(self, epoch: int) -> "CapturedRows":
        return replace(self, rows=self.rows.in_epoch(epoch))

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        batch = self.rows.batch(rows)
        assert callable(self.give)
        self.give(capture(self.twin, self.point, batch))
        return self.rows.logits(model, rows)


def trained(model: Classifier, point: FreezePoint, sides: Sequence[Rows], folder: Path) -> list[Epoch]:
    rows, validation = sides
    return train(Training(model, point, rows, validation, OneLabel(), PLAN), folder)


@pytest.mark.parametrize(("strategy", "freeze_until"), CUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_replayed_logits_equal_the_plain_forward_pass(
    tmp_path: Path, architecture: Architecture, strategy: Strategy, freeze_until: str | None
) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, point = prepared(folder, strategy, freeze_until)
    rows = tiny_rows(folder, 6)
    batch = rows.batch(range(len(rows.encoded)))
    hidden = capture(model, point, batch)
    plain = model.eval()(**batch)
    with replaying(model, point) as give:
        give(hidden)
        assert torch.equal(model(**batch), plain)
        give(hidden.flip(0))
        assert not torch.equal(model(**batch), plain)


@pytest.mark.parametrize(("strategy", "freeze_until"), CUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_replayed_training_ends_with_the_weights_and_losses_of_the_plain_one(
    tmp_path: Path, architecture: Architecture, strategy: Strategy, freeze_until: str | None
) -> None:
    # Bit for bit, dropout included: the frozen part draws no random numbers in either.
    folder = write_tiny_model(tmp_path / "base", architecture)
    sides = [tiny_rows(folder, 10), tiny_rows(folder, 6, seed=1)]
    plain, point = prepared(folder, strategy, freeze_until)
    replayed, twin = copy.deepcopy(plain), copy.deepcopy(plain)
    plain_epochs = trained(plain, point, sides, tmp_path / "plain")
    with replaying(replayed, point) as give:
        captured = [CapturedRows(side, twin, point, give) for side in sides]
        epochs = trained(replayed, point, captured, tmp_path / "replayed")
    assert epochs == plain_epochs
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in replayed.state_dict().items())


@pytest.mark.parametrize(("strategy", "freeze_until"), CUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_from_the_store_stays_within_rounding_of_the_plain_one(
    tmp_path: Path, architecture: Architecture, strategy: Strategy, freeze_until: str | None
) -> None:
    # Not bit for bit: the store's entries are computed without padding, in batches of another shape.
    folder = write_tiny_model(tmp_path / "base", architecture)
    sides = [tiny_rows(folder, 10), tiny_rows(folder, 6, seed=1)]
    plain, point = prepared(folder, strategy, freeze_until)
    replayed = copy.deepcopy(plain)
    plain_epochs = trained(plain, point, sides, tmp_path / "plain")
    with FeatureStore(tmp_path / "store") as store:
        keys = [row_keys(side) for side in sides]
        for side, of_side in zip(sides, keys, strict=True):
            fill(store, replayed, point, side, of_side)
        with replaying(replayed, point) as give:
            kept = [ReplayedRows(s, store, of, give) for s, of in zip(sides, keys, strict=True)]
            epochs = trained(replayed, point, kept, tmp_path / "replayed")
    assert [epoch.train_loss for epoch in epochs] == pytest.approx([e.train_loss for e in plain_epochs], abs=1e-4)
    assert [e.validation_loss for e in epochs] == pytest.approx([e.validation_loss for e in plain_epochs], abs=1e-4)
    frozen_apart = {name: replayed.get_parameter(name) for name in point.frozen_parameters}
    assert all(torch.equal(tensor, plain.get_parameter(name)) for name, tensor in frozen_apart.items())


@pytest.mark.parametrize(("strategy", "freeze_until"), CUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_rows_entry_has_the_same_bits_whatever_rows_it_is_computed_with(
    tmp_path: Path, architecture: Architecture, strategy: Strategy, freeze_until: str | None
) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, point = prepared(folder, strategy, freeze_until)
    rows = tiny_rows(folder, 40)
    shuffled = list(range(40))
    random.Random(0).shuffle(shuffled)
    some = [shuffled[:13], shuffled[13:14], shuffled[14:]]

    with FeatureStore(tmp_path / "all") as at_once, FeatureStore(tmp_path / "some") as bit_by_bit:
        keys = row_keys(rows)
        fill(at_once, model, point, rows, keys)
        for chosen in some:
            part = replace(rows, encoded=[rows.encoded[row] for row in chosen], targets=rows.targets[chosen])
            fill(bit_by_bit, model, point, part, row_keys(part))
        assert all(torch.equal(at_once.batch([key]), bit_by_bit.batch([key])) for key in keys)


def test_an_entry_is_what_enters_the_trainable_part_without_padding(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "partial", "1")
    rows = tiny_rows(folder, 10)
    whole = capture(model, point, rows.batch(range(len(rows.encoded))))
    with FeatureStore(tmp_path / "store") as store:
        keys = row_keys(rows)
        fill(store, model, point, rows, keys)
        for row, key in enumerate(keys):
            entry = store.batch([key])[0]
            assert len(entry) == rows.lengths[row]
            assert torch.allclose(entry, whole[row, : len(entry)], atol=1e-5)


def test_rows_that_are_kept_are_not_computed_again_when_data_grows(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "partial", "1")
    grown = tiny_rows(folder, 12)
    first = replace(grown, encoded=grown.encoded[:9], targets=grown.targets[:9])
    assert len(set(row_keys(grown))) == 12
    computed = []
    for rows in (first, first, grown):
        with FeatureStore(tmp_path / "store") as store:
            computed.append(fill(store, model, point, rows, row_keys(rows)))
    assert computed == [9, 0, 3]


def test_equal_rows_share_one_entry(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "partial", "1")
    rows = tiny_rows(folder, 3)
    twice = replace(rows, encoded=[*rows.encoded, *rows.encoded], targets=rows.targets.repeat(2))
    with FeatureStore(tmp_path / "store") as store:
        assert fill(store, model, point, twice, row_keys(twice)) == 3


def test_after_replaying_the_model_is_whole_again(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "partial", "2")
    rows = tiny_rows(folder, 4)
    batch = rows.batch(range(len(rows.encoded)))
    plain = model.eval()(**batch)
    with pytest.raises(KeyError), replaying(model, point):
        raise KeyError("a training that fails")
    assert torch.equal(model(**batch), plain)


def test_the_frozen_blocks_do_not_run_during_a_replay(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "partial", "2")
    rows = tiny_rows(folder, 4)
    batch = rows.batch(range(len(rows.encoded)))
    hidden = capture(model, point, batch)
    ran: list[str] = []
    for block in point.frozen_blocks:
        model.get_submodule(f"{block}.attention").register_forward_hook(lambda *_: ran.append("attention"))
    with replaying(model, point) as give:
        for _ in range(5):
            give(hidden)
            model(**batch)
    # Once each, to see how a block answers.
    assert len(ran) == len(point.frozen_blocks)


def test_nothing_frozen_is_nothing_to_replay(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, point = prepared(folder, "fine_tuning", None)
    with pytest.raises(ValueError, match="nothing is frozen"), replaying(model, point):
        pass


class Keyed(nn.Module):
    """Blocks that take their input by name and not first, and answer with a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([KeyedBlock() for _ in range(3)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x, _ = block(scale=2.0, hidden=x)
        logits: Tensor = self.head(x)
        return logits


class KeyedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, hidden: Tensor, scale: float) -> tuple[Tensor, float]:
        return torch.tanh(self.inner(hidden)) * scale, scale


def test_blocks_that_take_their_input_by_name_are_replayed() -> None:
    torch.manual_seed(0)
    model, batch = Keyed(), {"x": torch.randn(3, 4)}
    point = freeze(model, "partial", "2", example=batch)
    hidden, plain = capture(model, point, batch), model(**batch)
    with replaying(model, point) as give:
        give(hidden)
        assert torch.equal(model(**batch), plain)


class Skipping(nn.Module):
    """Blocks behind the cut that also read what came out of the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        early = self.blocks[0](x)
        logits: Tensor = self.head(self.blocks[2](self.blocks[1](early)) + early)
        return logits


def test_a_model_whose_blocks_hand_on_more_than_one_tensor_is_refused() -> None:
    torch.manual_seed(0)
    model, batch = Skipping(), {"x": torch.randn(3, 4)}
    point = freeze(model, "partial", "2", example=batch)
    with pytest.raises(SettingsError, match=r"blocks\.2 of this model needs more .* feature_extraction"):
        plan_replay(model, point, batch)


def test_the_same_model_can_be_replayed_at_its_head() -> None:
    torch.manual_seed(0)
    model, batch = Skipping(), {"x": torch.randn(3, 4)}
    point = freeze(model, "feature_extraction", None, example=batch)
    plan_replay(model, point, batch)
    train_mode(model, point)
    assert not model.blocks[0].training
