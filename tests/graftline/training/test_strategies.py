"""Strategies: each ends with a model that learned, whose frozen part did not, and can be repeated and resumed."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftline.digests import json_sha256, tensors_sha256
from graftline.errors import GraftlineError, SettingsError
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.freezing import FreezePoint, freeze, frozen_sha256
from graftline.frozen.rows import FeatureRows, InputRows
from graftline.frozen.store import FeatureStore, lock_of
from graftline.models.classifier import Classifier
from graftline.models.folders import load_classifier, save_classifier
from graftline.models.parts import HEAD
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.adapted import Adapted
from graftline.training.interpolation import SHARES, Between
from graftline.training.loop import batch_groups
from graftline.training.plan import Plan, Training
from graftline.training.progress import Epoch, Listener, Progress, best_epoch
from graftline.training.rate_search import find_learning_rate
from graftline.training.runs import SEED_STEP
from graftline.training.single_label import OneLabel, balanced_weights, objective_for
from graftline.training.stages import stages
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict
from tests.support.tiers import sampled
from tests.support.tiny_media import tiny_media_classifier, tiny_media_rows, write_tiny_image_model
from tests.support.tiny_models import BLOCKS, tiny_classifier, tiny_rows, write_tiny_model

SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "head_learning_rate": 1e-2,
    "max_tokens": 32,
    "refit_rows": 0,
    "seed": 3,
    "device": "cpu",
}
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "feature_extraction"},
    {"strategy": "feature_extraction", "head": "mlp", "epochs": 12},
    {"strategy": "partial", "freeze_until": "2"},
    {"strategy": "fine_tuning"},
    {"strategy": "probe_then_fine_tune"},
    {"strategy": "probe_then_fine_tune", "freeze_until": "1"},
    {"strategy": "contrastive"},
    {"strategy": "gradual_unfreezing", "epochs": 12},
    {"strategy": "lora"},
    {"strategy": "lora", "freeze_until": "1", "lora_merge": False},
    {"strategy": "bias_only", "learning_rate": 2e-2, "epochs": 12},
    {"strategy": "norm_only", "learning_rate": 2e-2},
]


def name_of(chosen: dict[str, Any]) -> str:
    return "-".join(str(value) for value in chosen.values())


@dataclass
class Ran:
    model: Classifier
    adapted: Adapted
    rows: dict[str, InputRows]
    epochs: list[Epoch] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return tensors_sha256(dict(self.model.state_dict()))


class PowerCutError(Exception):
    """Stands in for whatever ends a process in the middle of a training."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def ran(
    base: Path,
    folder: Path,
    cut_at: int | None = None,
    *,
    limit_bytes: int = 1 << 30,
    head_seed: int | None = None,
    train_rows: int = 256,
    during: Callable[[Classifier], object] = lambda _: None,
    **chosen: Any,
) -> Ran:
    settings = AdaptationSettings(**SETTINGS | chosen)
    rows = {"train": tiny_rows(base, train_rows), "validation": tiny_rows(base, 64, seed=1)}
    model = tiny_classifier(base, seed=settings.seed if head_seed is None else head_seed, head=settings.head)
    return adapted(model, rows, settings, folder, cut_at, limit_bytes=limit_bytes, during=during)


def ran_on_pictures(folder: Path, *, during: Callable[[Classifier], object] = lambda _: None, **chosen: Any) -> Ran:
    """The same with a model whose norms keep statistics of what they see."""
    base = write_tiny_image_model(folder / "base", "timm resnet")
    rows = {
        split: tiny_media_rows(base, "timm resnet", 8, seed=seed) for seed, split in enumerate(("train", "validation"))
    }
    settings = AdaptationSettings(**SETTINGS | {"epochs": 2, "batch_size": 4} | chosen)
    return adapted(tiny_media_classifier(base, "timm resnet"), rows, settings, folder, during=during)


def adapted(
    model: Classifier,
    rows: dict[str, InputRows],
    settings: AdaptationSettings,
    folder: Path,
    cut_at: int | None = None,
    *,
    limit_bytes: int = 1 << 30,
    during: Callable[[Classifier], object] = lambda _: None,
) -> Ran:
    epochs: list[Epoch] = []
    said: list[str] = []
    steps: list[int] = []

    def progress(told: Progress) -> None:
        steps.append(told.step)
        during(model)
        if len(steps) == cut_at:
            raise PowerCutError

    def stores(point: FreezePoint) -> AbstractContextManager[FeatureStore]:
        return open_feature_store(
            folder / "features",
            str(point.first_trainable),
            precision=settings.feature_precision,
            limit_bytes=limit_bytes,
        )

    done = Adaptation(
        model,
        rows,
        settings,
        objective_for,
        stores,
        folder / "checkpoints",
        Listener(progress, epochs.append, said.append),
    ).run()
    return Ran(model, done, rows, epochs, said)


@pytest.mark.parametrize("chosen", sampled(STRATEGIES, STRATEGIES[0]), ids=name_of)
def test_every_strategy_learns_repeats_itself_to_the_bit_and_answers_the_same_once_saved(
    base: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    few = {**chosen, "train_rows": 16, "batch_size": 8, "epochs": 32}
    first, second = (ran(base, tmp_path / name, **few) for name in ("first", "second"))
    # At a learning rate of 1e-9 no loss falls below 0.98 times that of chance, and behind a probe below 0.8 of its own.
    losses = [epoch.train_loss for epoch in first.epochs]
    assert min(losses) < 0.95 * math.log(2)
    if chosen["strategy"] == "probe_then_fine_tune":
        assert min(losses[1:]) < losses[0] / 2
    assert (first.sha256, first.adapted) == (second.sha256, second.adapted)
    assert list(first.adapted.epochs) == first.epochs
    assert [epoch.number for epoch in first.epochs] == list(range(1, len(first.epochs) + 1))
    _answers_the_same_once_saved(first, tmp_path / "model")


def _answers_the_same_once_saved(done: Ran, folder: Path) -> None:
    before = predict(done.model, done.rows["validation"], batch_size=8)
    folder.mkdir()
    save_classifier(done.model, done.rows["train"].preprocessor, folder)
    after = predict(load_classifier(folder), done.rows["validation"], batch_size=8)
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("chosen", "learns"),
    [
        ({"strategy": "feature_extraction"}, ("head.",)),
        ({"strategy": "partial", "freeze_until": "2"}, ("head.", "backbone.encoder.layer.2.")),
        ({"strategy": "probe_then_fine_tune", "freeze_until": "2"}, ("head.", "backbone.encoder.layer.2.")),
    ],
    ids=str,
)
def test_what_is_frozen_keeps_its_bits(
    base: Path, tmp_path: Path, chosen: dict[str, Any], learns: tuple[str, ...]
) -> None:
    done, untouched = ran(base, tmp_path, **chosen), tiny_classifier(base, seed=3).state_dict()
    changed = {name for name, tensor in done.model.state_dict().items() if not torch.equal(tensor, untouched[name])}
    assert changed
    assert all(name.startswith(learns) for name in changed)


def test_bias_only_changes_nothing_but_biases_and_norm_only_nothing_but_norms(base: Path, tmp_path: Path) -> None:
    untouched = tiny_classifier(base, seed=3).state_dict()
    for strategy, kind in (("bias_only", "bias"), ("norm_only", "LayerNorm.")):
        done = ran(base, tmp_path / strategy, strategy=strategy)
        changed = {name for name, tensor in done.model.state_dict().items() if not torch.equal(tensor, untouched[name])}
        of_backbone = {name for name in changed if name.startswith("backbone.")}
        assert of_backbone
        assert all(kind in name for name in of_backbone)


def test_unmerged_adapters_leave_the_base_weights_untouched_and_lie_beside_them(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, strategy="lora", lora_merge=False)
    (tmp_path / "model").mkdir()
    save_classifier(done.model, done.rows["train"].preprocessor, tmp_path / "model")
    kept, untouched = done.model.backbone.state_dict(), tiny_classifier(base).backbone.state_dict()
    assert kept.keys() == untouched.keys()
    assert all(torch.equal(kept[name], untouched[name]) for name in untouched)
    assert (tmp_path / "model" / "adapters.safetensors").exists()


# Four stages of four steps each.
UNFREEZING: dict[str, Any] = {"strategy": "gradual_unfreezing", "train_rows": 64}


@pytest.fixture(scope="module")
def unfrozen(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(base, tmp_path_factory.mktemp("unfrozen"), **UNFREEZING)


@pytest.mark.parametrize("cut_at", sampled([3, 5, 9, 13, 16], 9))
def test_gradual_unfreezing_goes_on_after_a_cut_and_ends_with_the_same_weights(
    base: Path, unfrozen: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path, cut_at, **UNFREEZING)
    resumed = ran(base, tmp_path, **UNFREEZING)
    assert (resumed.sha256, resumed.adapted) == (unfrozen.sha256, unfrozen.adapted)


@pytest.mark.parametrize(
    ("epochs", "stage_epochs", "expected"),
    [
        (1, 1, [("fine_tuning", None, 1)]),
        (2, 1, [("feature_extraction", None, 1), ("fine_tuning", None, 1)]),
        (3, 1, [("feature_extraction", None, 1), ("partial", "1", 1), ("fine_tuning", None, 1)]),
        (5, 2, [("feature_extraction", None, 2), ("partial", "1", 2), ("fine_tuning", None, 1)]),
        (
            6,
            1,
            [
                ("feature_extraction", None, 1),
                ("partial", "2", 1),
                ("partial", "1", 1),
                ("partial", "1", 1),
                ("fine_tuning", None, 1),
                ("fine_tuning", None, 1),
            ],
        ),
        (4, 1, [("feature_extraction", None, 1), ("partial", "2", 1), ("partial", "1", 1), ("fine_tuning", None, 1)]),
    ],
)
def test_stages_unfreeze_from_the_head_down_and_use_every_epoch(
    epochs: int, stage_epochs: int, expected: list[Any]
) -> None:
    settings = AdaptationSettings(strategy="gradual_unfreezing", epochs=epochs, stage_epochs=stage_epochs)
    assert list(stages(settings, blocks=3)) == expected


def test_the_frozen_part_runs_once_per_row_whatever_the_epochs_seed_and_penalty(base: Path, tmp_path: Path) -> None:
    first = ran(base, tmp_path, strategy="feature_extraction")
    again = ran(base, tmp_path, strategy="feature_extraction", seed=9, head_penalty=0.5)
    assert any("ran once for 320 rows, 0 were kept" in said for said in first.said)
    assert any("ran once for 0 rows, 320 were kept" in said for said in again.said)
    assert again.adapted.head_penalty == 0.5


def test_a_head_alone_learns_from_all_labelled_rows_and_is_judged_before_it(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, strategy="feature_extraction", head_penalty=0.1)
    held, judged = done.rows["validation"], done.adapted.validation_outputs
    assert judged is not None
    (epoch,) = done.epochs
    assert OneLabel().validation_loss(judged, held.targets).item() == pytest.approx(epoch.validation_loss)
    assert OneLabel().score(judged, held.targets) == epoch.validation_score
    now = OneLabel().validation_loss(predict(done.model, held, batch_size=8), held.targets).item()
    assert now < epoch.validation_loss
    kept = ran(base, tmp_path, strategy="probe_then_fine_tune", head_penalty=0.1, learning_rate=1e-9, epochs=1)
    assert kept.adapted.validation_outputs is None
    assert kept.epochs[0].validation_loss == epoch.validation_loss


def test_a_refit_weighs_classes_by_all_rows_that_it_learns_from(base: Path, tmp_path: Path) -> None:
    rows = {"train": tiny_rows(base, 8), "validation": tiny_rows(base, 8, seed=1)}
    rows = {
        "train": replace(rows["train"], targets=torch.zeros(8, dtype=torch.int64)),
        "validation": rows["validation"],
    }
    settings = AdaptationSettings(strategy="feature_extraction", class_weights="balanced")
    adaptation = Adaptation(
        tiny_classifier(base), rows, settings, objective_for, lambda _: FeatureStore(tmp_path), tmp_path
    )
    both = torch.cat([rows["train"].targets, rows["validation"].targets])
    objective = adaptation._objective("train", "validation")
    assert isinstance(objective, OneLabel)
    assert objective.weights is not None
    assert torch.equal(objective.weights, balanced_weights(both, 2))


class HeadOnly(nn.Module):
    """A model of which only the head has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)


RANGE_PLAN = Plan(
    epochs=1,
    batch_size=16,
    learning_rate=1e-3,
    head_learning_rate=1e-3,
    weight_decay=0.0,
    warmup_share=0.1,
    precision="float32",
    patience=0,
    seed=0,
)


def range_test(features: Tensor, targets: Tensor, **plan: Any) -> tuple[float | None, bool]:
    """The rate that is found, and whether the model is as before, without any gradients."""
    torch.manual_seed(0)
    model = HeadOnly()
    before = tensors_sha256(dict(model.state_dict()))
    names = tuple(name for name, _ in model.named_parameters())
    point, rows = FreezePoint(None, (), frozenset(), (), names), FeatureRows(features, targets)
    rate = find_learning_rate(Training(model, point, rows, rows, OneLabel(), replace(RANGE_PLAN, **plan)))
    is_untouched = tensors_sha256(dict(model.state_dict())) == before
    return rate, is_untouched and all(parameter.grad is None for parameter in model.parameters())


def test_the_range_test_finds_a_rate_at_which_the_loss_falls_and_leaves_the_model_alone() -> None:
    features = torch.randn(256, 4, generator=torch.Generator().manual_seed(1))
    targets = (features[:, 0] > 0).long()
    rate, untouched = range_test(features, targets, head_learning_rate=1e-3)
    assert untouched
    assert rate is not None
    assert 1e-3 < rate < 1
    # With a head that learns ten times as fast everything happens at a tenth of the rate.
    faster, _ = range_test(features, targets, head_learning_rate=1e-2)
    assert faster is not None
    assert faster < rate


def test_the_range_test_finds_nothing_where_there_is_nothing_to_learn() -> None:
    features = torch.zeros(256, 4)
    targets = torch.arange(256) % 2
    assert range_test(features, targets, head_learning_rate=1e-3) == (None, True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_room_for_features_the_head_comes_out_the_same(base: Path, tmp_path: Path, precision: str) -> None:
    chosen: dict[str, Any] = {"strategy": "feature_extraction", "feature_precision": precision}
    kept = ran(base, tmp_path / "kept", **chosen)
    full = ran(base, tmp_path / "full", limit_bytes=100, **chosen)
    assert full.sha256 == kept.sha256
    assert [said for said in full.said if said.endswith("; the frozen part runs once, into memory")]
    assert not any("in every epoch" in said for said in full.said)


def test_without_room_for_features_training_goes_on_and_says_so(base: Path, tmp_path: Path) -> None:
    kept = ran(base, tmp_path / "kept", strategy="partial", freeze_until="2")
    full = ran(base, tmp_path / "full", strategy="partial", freeze_until="2", limit_bytes=100)
    assert any("the frozen part runs in every epoch" in said for said in full.said)
    assert not any("into memory" in said for said in full.said)
    # The batches of another shape round differently, and nothing else differs.
    losses = [[epoch.train_loss for epoch in done.epochs] for done in (kept, full)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert full.adapted.frozen_sha256 == kept.adapted.frozen_sha256


def test_a_store_without_room_is_open_to_others_while_the_training_runs(base: Path, tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "features" / "backbone.encoder.layer.2")

    def take_turns(_: Classifier) -> None:
        with lock.acquire(timeout=0):
            pass

    full = ran(base, tmp_path, strategy="partial", freeze_until="2", limit_bytes=100, epochs=1, during=take_turns)
    assert any("the frozen part runs in every epoch" in said for said in full.said)


def test_features_in_bfloat16_take_half_the_space_and_hardly_move_the_loss(base: Path, tmp_path: Path) -> None:
    exact, coarse = (
        ran(base, tmp_path / precision, strategy="feature_extraction", feature_precision=precision, head_penalty=0.1)
        for precision in ("float32", "bfloat16")
    )
    sizes = [
        (tmp_path / precision / "features" / "head" / "values.bin").stat().st_size
        for precision in ("float32", "bfloat16")
    ]
    assert sizes[1] * 2 == sizes[0]
    assert coarse.epochs[0].train_loss == pytest.approx(exact.epochs[0].train_loss, abs=1e-3)


def test_the_range_test_outlives_a_loss_that_is_no_number_at_once() -> None:
    features = torch.full((256, 4), torch.inf)
    assert range_test(features, torch.arange(256) % 2, head_learning_rate=1e-3) == (None, True)


def test_the_range_test_leaves_no_gradient_of_a_step_that_diverged_half_way() -> None:
    features, targets = torch.zeros(8, 4), torch.arange(8) % 2
    (group,) = batch_groups(FeatureRows(features, targets), replace(RANGE_PLAN, batch_size=4, accumulation=2), epoch=0)
    features[group[1]] = torch.inf
    assert range_test(features, targets, batch_size=4, accumulation=2) == (None, True)


@pytest.mark.full
def test_a_found_learning_rate_is_used_or_its_absence_told(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path / "found", strategy="fine_tuning", find_learning_rate=True)
    told = [said for said in done.said if said.startswith("learning rate: ")]
    assert len(told) == 1
    rates: dict[str, Any] = {
        "learning_rate": done.adapted.learning_rate,
        "head_learning_rate": 2 * done.adapted.learning_rate,
    }
    assert ran(base, tmp_path / "set", strategy="fine_tuning", **rates).sha256 == done.sha256


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "fine_tuning"},
        {"strategy": "partial", "freeze_until": "1"},
        {"strategy": "lora"},
        {"strategy": "bias_only"},
    ],
    ids=name_of,
)
def test_recomputed_activations_change_no_weight(base: Path, tmp_path: Path, chosen: dict[str, Any]) -> None:
    plain, saving = (
        ran(base, tmp_path / str(recompute), gradient_checkpointing=recompute, epochs=2, train_rows=64, **chosen)
        for recompute in (False, True)
    )
    assert saving.sha256 == plain.sha256


@pytest.mark.parametrize("strategy", ["fine_tuning", "bias_only", "probe_then_fine_tune"])
def test_statistics_count_each_batch_once_where_activations_are_recomputed(tmp_path: Path, strategy: str) -> None:
    plain, saving = (
        ran_on_pictures(tmp_path / str(recompute), strategy=strategy, gradient_checkpointing=recompute)
        for recompute in (False, True)
    )
    assert saving.sha256 == plain.sha256


def tamper(name: str) -> Callable[[Classifier], object]:
    """A function that changes one number of a model."""
    return lambda model: model.state_dict()[name].view(-1)[-1].add_(1e-3)


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "partial", "freeze_until": "2"},
        {"strategy": "lora"},
        {"strategy": "gradual_unfreezing"},
        {"strategy": "feature_extraction", "head": "mlp"},
    ],
    ids=name_of,
)
def test_a_frozen_weight_that_changes_during_training_is_an_error(
    base: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    frozen = "backbone.embeddings.word_embeddings.weight"
    with pytest.raises(GraftlineError, match=r"training changed the frozen part \(\w{12} became \w{12}\), which must"):
        ran(base, tmp_path, during=tamper(frozen), train_rows=16, **chosen)


def test_still_statistics_that_change_during_training_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(GraftlineError, match="training changed the frozen part"):
        ran_on_pictures(tmp_path, strategy="probe_then_fine_tune", during=tamper("backbone.bn1.running_mean"))


def test_the_frozen_digest_of_gradual_unfreezing_is_that_of_all_its_stages(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, strategy="gradual_unfreezing", epochs=3, train_rows=16)
    untouched, example = tiny_classifier(base, seed=3), done.rows["train"].batch([0, 1])
    stages: list[Any] = [("feature_extraction", None), ("partial", "1"), ("fine_tuning", None)]
    points = [freeze(untouched, *stage, example=example) for stage in stages]
    assert done.adapted.frozen_sha256 == json_sha256([frozen_sha256(untouched, point) for point in points])


@pytest.mark.parametrize("runs", [1, 2])
def test_l2_sp_pulls_every_stage_towards_the_base_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    untouched, pulled = tiny_classifier(base, seed=3).state_dict(), list[int]()

    def note(origin: dict[str, Tensor], learning: dict[str, Tensor], _: float) -> None:
        of_backbone = {name for name in learning if not name.startswith(f"{HEAD}.")}
        assert origin.keys() == of_backbone
        assert all(torch.equal(origin[name], untouched[name]) for name in of_backbone)
        pulled.append(len(of_backbone))

    monkeypatch.setattr("graftline.training.loop._pull_towards", note)
    ran(base, tmp_path, strategy="gradual_unfreezing", l2_sp=0.1, train_rows=16, runs=runs)
    assert len(set(pulled)) == BLOCKS


def test_a_head_on_features_that_are_no_numbers_is_refused(base: Path, tmp_path: Path) -> None:
    model = tiny_classifier(base)
    model.backbone.state_dict()["embeddings.LayerNorm.bias"].fill_(torch.nan)
    rows = {"train": tiny_rows(base, 8), "validation": tiny_rows(base, 8, seed=1)}
    settings = AdaptationSettings(**SETTINGS, strategy="feature_extraction")
    with pytest.raises(GraftlineError, match=r"not finite for 8 of 8 train rows, .* choose another base model"):
        adapted(model, rows, settings, tmp_path)


def test_averaged_epochs_are_told(base: Path, tmp_path: Path) -> None:
    # At this rate two do better than the best of them alone.
    done = ran(base, tmp_path, strategy="probe_then_fine_tune", average="greedy", epochs=4, learning_rate=2e-3)
    members = sorted(done.adapted.members)
    # The first epoch is the solved head.
    assert set(members) <= {2, 3, 4, 5}
    assert len(members) > 1
    told = [said for said in done.said if "the mean of the epochs" in said]
    assert told == [f"weights: the mean of the epochs {', '.join(map(str, members))}"]


@pytest.mark.full
def test_runs_start_alike_see_other_orders_and_their_mean_is_taken_if_it_does_no_worse(
    base: Path, tmp_path: Path
) -> None:
    # At this rate the mean does better than each run.
    chosen: dict[str, Any] = {"strategy": "fine_tuning", "epochs": 1, "learning_rate": 2e-3, "head_seed": 3}
    several = ran(base, tmp_path / "several", runs=3, **chosen)
    alone = [ran(base, tmp_path / str(run), seed=3 + run * SEED_STEP, **chosen).model.state_dict() for run in range(3)]
    assert [epoch.number for epoch in several.adapted.epochs] == [1, 2, 3]
    assert several.adapted.members == (1, 2, 3)
    assert len({tensors_sha256(dict(state)) for state in alone}) == 3
    for name, tensor in several.model.state_dict().items():
        mean = torch.stack([state[name].double() for state in alone]).mean(0)
        assert torch.allclose(tensor.double(), mean, atol=1e-6), name
    assert any("the mean of 3 runs has validation loss" in said for said in several.said)


def test_a_solved_head_that_no_epoch_beats_is_kept(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(*_: object) -> tuple[float, float]:
        return 99.0, 0.0

    monkeypatch.setattr("graftline.training.loop.validate", worse)
    done = ran(base, tmp_path / "tuned", strategy="probe_then_fine_tune", epochs=2)
    solved = ran(base, tmp_path / "solved", strategy="feature_extraction")
    assert done.adapted.members == (1,)
    assert [epoch.number for epoch in done.adapted.epochs] == [1, 2, 3]
    kept, expected = done.model.state_dict(), solved.model.state_dict()
    assert [name for name in kept if not name.startswith(HEAD) and not torch.equal(kept[name], expected[name])] == []
    # As it was solved on the training rows alone.
    said, judged = predict(done.model, done.rows["validation"], batch_size=8), solved.adapted.validation_outputs
    assert judged is not None
    assert torch.allclose(said, judged, atol=1e-4)
    assert any("no epoch was better than the solved head" in said for said in done.said)


def test_a_mean_that_does_worse_than_the_best_run_is_not_taken(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(*_: object) -> tuple[float, float]:
        return 99.0, 0.0

    monkeypatch.setattr("graftline.training.runs.validate", worse)
    done = ran(base, tmp_path, strategy="fine_tuning", epochs=1, runs=2)
    (number,) = done.adapted.members
    assert number == best_epoch(done.epochs).number
    held = done.rows["validation"]
    loss = OneLabel().validation_loss(predict(done.model, held, batch_size=8), held.targets)
    assert float(loss) == pytest.approx(best_epoch(done.epochs).validation_loss, abs=1e-5)


# At this rate a mean in between did best.
WISE: dict[str, Any] = {"strategy": "probe_then_fine_tune", "average": "wise", "epochs": 1, "learning_rate": 4e-2}


@pytest.fixture(scope="module")
def wise(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(base, tmp_path_factory.mktemp("wise"), train_rows=48, **WISE)


def test_the_mean_with_the_solved_head_that_does_best_on_the_validation_rows_is_taken(
    base: Path, tmp_path: Path, wise: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[dict[str, Tensor]] = []

    def kept_apart(training: Training, start: dict[str, Tensor]) -> tuple[Between, ...]:
        ends.extend([start, {name: tensor.detach().clone() for name, tensor in training.model.state_dict().items()}])
        return (Between(1.0, 0.0, 0.0),)

    monkeypatch.setattr("graftline.training.runs.interpolate", kept_apart)
    again = ran(base, tmp_path, train_rows=48, **WISE)
    start, end = ends
    assert start.keys() == end.keys()

    held = wise.rows["validation"]
    for share in SHARES:
        mean = {name: (1 - share) * start[name].double() + share * end[name].double() for name in end}
        again.model.load_state_dict({name: tensor.float() for name, tensor in mean.items()})
        outputs = predict(again.model, held, batch_size=8)
        loss = float(OneLabel().validation_loss(outputs, held.targets))
        seen = next(one for one in wise.adapted.between if one.share == share)
        assert seen.validation_loss == pytest.approx(loss, abs=1e-5)
        assert seen.validation_score == OneLabel().score(outputs, held.targets)
        if share == wise.adapted.between[0].share:
            assert torch.allclose(predict(wise.model, held, batch_size=8), outputs, atol=1e-5)
    ranks = [(-one.validation_score, one.validation_loss, one.share) for one in wise.adapted.between]
    assert ranks == sorted(ranks)


def test_a_mean_with_the_solved_head_goes_on_after_a_cut_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path, wise: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path, 2, train_rows=48, **WISE)
    resumed = ran(base, tmp_path, train_rows=48, **WISE)
    assert (resumed.sha256, resumed.adapted) == (wise.sha256, wise.adapted)


def test_where_no_mean_beats_the_solved_head_it_is_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(range(len(SHARES)))
    monkeypatch.setattr("graftline.training.interpolation.validate", lambda _: (float(next(losses)), 0.5))
    done = ran(base, tmp_path, train_rows=48, **WISE)
    assert (done.adapted.between[0].share, done.adapted.members) == (0, (1,))
    backbone, untouched = done.model.state_dict(), tiny_classifier(base, seed=3).state_dict()
    assert [
        name for name in backbone if not name.startswith(HEAD) and not torch.equal(backbone[name], untouched[name])
    ] == []
    assert any("no epoch was better than the solved head" in said for said in done.said)


def test_a_mean_with_the_solved_head_leaves_frozen_blocks_and_statistics_as_they_were(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.5, 0.1, *[0.5] * (len(SHARES) - 3)] * 2)
    monkeypatch.setattr("graftline.training.interpolation.validate", lambda _: (next(losses), 0.5))
    done = ran(base, tmp_path / "texts", train_rows=48, freeze_until="2", **WISE)
    untouched = tiny_classifier(base, seed=3).state_dict()
    frozen = [name for name in untouched if not name.startswith((HEAD, "backbone.encoder.layer.2."))]
    assert [name for name in frozen if not torch.equal(done.model.state_dict()[name], untouched[name])] == []

    pictures = ran_on_pictures(tmp_path, **WISE)
    assert [one.adapted.between[0].share for one in (done, pictures)] == [SHARES[2]] * 2
    before = tiny_media_classifier(tmp_path / "base", "timm resnet").state_dict()
    moved = [name for name, tensor in pictures.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert any("running_" in name for name in before)
    assert [name for name in moved if "running_" in name] == []
    assert [name for name in moved if not name.startswith(HEAD)] != []


@pytest.mark.parametrize("strategy", ["fine_tuning", "lora", "feature_extraction"])
def test_a_mean_with_a_model_that_has_no_solved_head_is_refused(strategy: str) -> None:
    said = f"average wise with strategy {strategy}: .* only probe_then_fine_tune does; set strategy to it, or average"
    with pytest.raises(ValueError, match=said):
        AdaptationSettings.model_validate({"strategy": strategy, "average": "wise"})


# Four steps each.
THREE_RUNS: dict[str, Any] = {"strategy": "fine_tuning", "epochs": 1, "runs": 3, "train_rows": 64}


@pytest.fixture(scope="module")
def three_runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(base, tmp_path_factory.mktemp("three runs"), **THREE_RUNS)


@pytest.mark.parametrize("cut_at", sampled([2, 6, 9, 11], 6))
def test_several_runs_go_on_after_a_cut_and_end_with_the_same_weights(
    base: Path, three_runs: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path, cut_at, **THREE_RUNS)
    resumed = ran(base, tmp_path, **THREE_RUNS)
    assert (resumed.sha256, resumed.adapted) == (three_runs.sha256, three_runs.adapted)


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "partial"},
        {"strategy": "feature_extraction", "runs": 2},
        {"strategy": "fine_tuning", "freeze_until": "2"},
        {"strategy": "gradual_unfreezing", "freeze_until": "2"},
        {"strategy": "probe_then_fine_tune", "head": "mlp"},
        {"strategy": "contrastive", "head": "mlp"},
        {"strategy": "auto", "head": "mlp"},
        {"strategy": "auto", "freeze_until": "2"},
    ],
    ids=name_of,
)
def test_settings_that_contradict_each_other_are_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="strategy"):
        AdaptationSettings(**chosen)


def test_a_cut_that_names_no_block_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names no single block"):
        ran(base, tmp_path, strategy="lora", freeze_until="encoder.layer.7")
