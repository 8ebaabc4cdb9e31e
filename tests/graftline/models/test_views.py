"""Random views: seeded, mild, the same wherever they are made, and kept apart in the store."""

import io
import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graftline.digests import tensors_sha256
from graftline.errors import SettingsError
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.filling import fill, run_through
from graftline.frozen.freezing import FreezePoint, freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.proof import plan_for
from graftline.frozen.replay import replaying
from graftline.frozen.rows import FeatureRows, InputRows, ReplayedRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.views import View, augmented_image, augmented_sound, views_of
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.adapted import Adapted
from graftline.training.linear_head import Refit, solve_head
from graftline.training.progress import Listener, Progress
from graftline.training.single_label import OneLabel, objective_for
from graftline.training.strategies import Adaptation
from tests.support.tiers import sampled
from tests.support.tiny_media import MediaArchitecture, tiny_media_classifier, tiny_media_rows, write_tiny_media_model
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model

pytestmark = pytest.mark.full

RATE = 16_000
ONE_OF_EACH: tuple[MediaArchitecture, ...] = ("timm resnet", "resnet", "wav2vec2", "whisper")
TRAINED: tuple[MediaArchitecture, ...] = ("timm resnet", "wav2vec2")
SETTINGS: dict[str, Any] = {
    "strategy": "partial",
    "freeze_until": "1",
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "seed": 3,
    "augmentation": "light",
    "views": 2,
    "device": "cpu",
}
KEYS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")


# Each pixel says where it was: across in red, down in green.
def a_map(width: int, height: int) -> Image.Image:
    across = np.linspace(40, 160, width)[None, :].repeat(height, 0)
    down = np.linspace(40, 160, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([across, down, np.full_like(down, 100)], axis=2).astype(np.uint8))


@given(KEYS, st.integers(1, 70), st.integers(1, 70))
def test_a_view_of_an_image_is_a_crop_of_most_of_it_in_its_own_proportions(key: str, width: int, height: int) -> None:
    view = augmented_image(a_map(width, height), key)
    assert view.mode == "RGB"
    assert 0.8 * width * height <= view.width * view.height <= width * height
    # The same scale both ways, each rounded up to a whole pixel.
    assert abs(view.width / width - view.height / height) < 1 / min(width, height)


@given(KEYS)
def test_a_view_of_an_image_is_neither_mirrored_nor_turned_and_about_as_bright(key: str) -> None:
    view = np.asarray(augmented_image(a_map(60, 60), key)).astype(float)
    assert (np.diff(view[:, :, 0].mean(0)) >= 0).all()
    assert (np.diff(view[:, :, 1].mean(1)) >= 0).all()
    assert 0.8 * 90 <= view.mean() <= 1.2 * 110


@given(KEYS, st.integers(400, 4_000))
def test_a_view_of_a_sound_is_shifted_and_scaled_a_little_with_noise_far_below_it(key: str, length: int) -> None:
    # No part of it is like another one.
    sound = np.random.default_rng(1).standard_normal(length, dtype=np.float32)
    view = augmented_sound(sound, RATE, key)
    furthest = length // 10 + 1
    kept = slice(furthest, length - furthest)
    found = []
    for shift in range(-furthest, furthest + 1):
        moved = np.roll(sound, shift)[kept]
        gain = float(moved @ view[kept]) / float(moved @ moved)
        found.append((float(np.square(view[kept] - gain * moved).mean()), gain))
    noise, gain = min(found)
    assert -6.3 < 20 * math.log10(gain) < 6.3
    assert -42 < 10 * math.log10(noise / float(np.square(gain * sound).mean())) < -18


@given(KEYS, st.integers(1, 40))
def test_a_view_of_a_short_sound_is_as_long(key: str, length: int) -> None:
    view = augmented_sound(np.ones(length, np.float32), RATE, key)
    assert view.dtype == np.dtype(np.float32)
    assert view.shape == (length,)
    assert np.isfinite(view).all()


def test_silence_stays_silence() -> None:
    assert not augmented_sound(np.zeros(500, np.float32), RATE, "5").any()


@dataclass(frozen=True)
class Case:
    model: Classifier
    train: InputRows
    validation: InputRows


def case(folder: Path, family: MediaArchitecture, rows: int = 8) -> Case:
    base = folder / "base"
    if not base.exists():
        write_tiny_media_model(base, family)
    return Case(
        tiny_media_classifier(base, family),
        tiny_media_rows(base, family, rows),
        tiny_media_rows(base, family, 4, seed=1),
    )


def bits(rows: InputRows, chosen: Sequence[int]) -> str:
    return tensors_sha256(rows.batch(chosen))


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_a_view_is_the_same_on_any_thread_in_any_order_and_touches_no_random_state(
    tmp_path: Path, family: MediaArchitecture
) -> None:
    rows = replace(case(tmp_path, family).train, views=views_of("light", seed=3, count=2))
    single = [[bits(rows.in_epoch(epoch), [row]) for row in range(8)] for epoch in (0, 1)]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]
    jobs = [(epoch, row) for row in (6, 1, 7, 0, 2, 5, 4, 3) for epoch in (1, 0)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: bits(rows.in_epoch(job[0]), [job[1]]), jobs))
    assert found == [single[epoch][row] for epoch, row in jobs]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tobytes() == states[2]  # type: ignore[index]


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_views_differ_from_each_other_from_the_plain_row_and_from_seed_to_seed(
    tmp_path: Path, family: MediaArchitecture
) -> None:
    plain = case(tmp_path, family).train
    seen = [
        plain,
        *(replace(plain, views=(View("light", seed, number),)).in_epoch(0) for seed in (3, 4) for number in (0, 1, 2)),
    ]
    assert len({bits(rows, [0]) for rows in seen}) == len(seen)
    assert len({key for rows in seen for key in row_keys(rows)}) == len(seen) * 8
    for rows in seen:
        assert rows.lengths == plain.lengths
        blank = rows.blank([0, 3])
        assert blank is not None
        assert {name: tensor.shape for name, tensor in rows.batch([0, 3]).items()} == {
            name: tensor.shape for name, tensor in blank.items()
        }


def test_views_that_are_added_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    plain = case(tmp_path, "timm resnet").train
    two, three = (replace(plain, views=views_of("light", seed=3, count=count)).in_all_views() for count in (2, 3))
    assert row_keys(three)[:16] == row_keys(two)
    assert len(three.targets) == 24


def test_another_content_is_seen_in_another_view(tmp_path: Path) -> None:
    # Of equal size, so that equal random numbers would cut out equal parts.
    train = case(tmp_path, "timm resnet").train
    contents = []
    for blue in (0, 1):
        written = io.BytesIO()
        picture = np.asarray(a_map(60, 60)).copy()
        picture[0, 0, 2] = blue
        Image.fromarray(picture).save(written, "PNG")
        contents.append(written.getvalue())
    both = replace(train, encoded=train.preprocessor.encode(contents), views=views_of("light", seed=3, count=1))
    one, other = both.in_epoch(0).batch([0, 1])["pixel_values"]
    assert not torch.allclose(one, other, atol=0.05)


@dataclass
class Ran:
    model: Classifier
    adapted: Adapted
    said: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return tensors_sha256(dict(self.model.state_dict()))


class PowerCutError(Exception):
    """Stands in for whatever ends a process in the middle of a training."""


def ran(folder: Path, of: Case, cut_at: int | None = None, *, limit_bytes: int = 1 << 30, **chosen: Any) -> Ran:
    settings = AdaptationSettings(**SETTINGS | chosen)
    said: list[str] = []
    steps: list[int] = []

    def progress(told: Progress) -> None:
        steps.append(told.step)
        if len(steps) == cut_at:
            raise PowerCutError

    def stores(point: FreezePoint) -> AbstractContextManager[FeatureStore]:
        return open_feature_store(
            folder / "features", str(point.first_trainable), precision="float32", limit_bytes=limit_bytes
        )

    adapted = Adaptation(
        of.model,
        {"train": of.train, "validation": of.validation},
        settings,
        objective_for,
        stores,
        folder / "checkpoints",
        Listener(progress, say=said.append),
    ).run()
    return Ran(of.model, adapted, said)


@pytest.mark.parametrize("family", TRAINED)
def test_without_room_for_the_views_training_sees_the_same_ones(tmp_path: Path, family: MediaArchitecture) -> None:
    kept = ran(tmp_path / "kept", case(tmp_path, family))
    full = ran(tmp_path / "full", case(tmp_path, family), limit_bytes=100)
    assert any("the frozen part runs in every epoch" in said for said in full.said)
    # The batches of another shape round differently, and nothing else differs.
    losses = [[epoch.train_loss for epoch in done.adapted.epochs] for done in (kept, full)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    other = ran(tmp_path / "other", case(tmp_path, family), augmentation="none")
    assert losses[0] != pytest.approx([epoch.train_loss for epoch in other.adapted.epochs], abs=1e-4)


@pytest.mark.parametrize("family", TRAINED)
def test_a_replayed_row_is_the_view_of_its_epoch(tmp_path: Path, family: MediaArchitecture) -> None:
    of = case(tmp_path, family)
    rows = replace(of.train, views=views_of("light", seed=3, count=3))
    point = freeze(of.model, "partial", "1", example=rows.batch([0, 1]))
    together = rows.in_all_views()
    keys = row_keys(together)
    with FeatureStore(tmp_path / "store") as store, torch.no_grad():
        fill(store, of.model, point, together, keys)
        plain = [rows.in_epoch(view).logits(of.model.eval(), [5, 2]) for view in range(3)]
        with replaying(of.model, point, plan_for(of.model, point, rows)) as give:
            replayed = ReplayedRows(rows, store, keys, give)
            for epoch in range(7):
                logits = replayed.in_epoch(epoch).logits(of.model.eval(), [5, 2])
                agrees = [torch.allclose(logits, of_view, atol=1e-5) for of_view in plain]
                assert agrees == [epoch % 3 == view for view in range(3)]


def test_kept_features_are_those_of_the_epochs_view() -> None:
    rows = FeatureRows(torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 0, 1, 0, 1]), views=3)
    assert [rows.in_epoch(epoch).features[:, 0].tolist() for epoch in (0, 1, 2, 3)] == [[0, 2], [4, 6], [8, 10], [0, 2]]
    assert rows.in_epoch(4).targets.tolist() == [0, 1]


def test_the_store_keeps_the_views_of_each_seed_and_the_plain_rows_apart(tmp_path: Path) -> None:
    told = [
        next(said for said in ran(tmp_path, case(tmp_path, "timm resnet"), **chosen).said if "ran once" in said)
        for chosen in ({}, {"learning_rate": 2e-3}, {"seed": 4}, {"augmentation": "none"}, {"views": 3})
    ]
    # 8 rows in two views and 4 validation rows as they are; a third view is only computed for an epoch that shows it.
    assert told == [
        "frozen part: ran once for 20 rows, 0 were kept",
        "frozen part: ran once for 0 rows, 20 were kept",
        "frozen part: ran once for 16 rows, 4 were kept",
        "frozen part: ran once for 8 rows, 4 were kept",
        "frozen part: ran once for 8 rows, 20 were kept",
    ]
    one_epoch = ran(tmp_path / "one", case(tmp_path, "timm resnet"), views=9, epochs=1)
    assert "frozen part: ran once for 12 rows, 0 were kept" in one_epoch.said


@pytest.mark.parametrize("family", TRAINED)
def test_views_change_the_weights_and_give_the_same_ones_again(tmp_path: Path, family: MediaArchitecture) -> None:
    first, second, plain = (
        ran(tmp_path / name, case(tmp_path, family), augmentation=name.split()[0]).sha256
        for name in ("light", "light again", "none")
    )
    assert first == second
    assert first != plain


@pytest.mark.parametrize("cut_at", sampled([1, 3, 4, 5], 4))
@pytest.mark.parametrize("strategy", sampled(["partial", "gradual_unfreezing", "fine_tuning"], "partial"))
def test_a_training_on_views_goes_on_after_a_cut_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int, strategy: str
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    chosen: dict[str, Any] = {"strategy": strategy, "freeze_until": "1" if strategy == "partial" else None}
    whole = ran(tmp_path / "whole", case(tmp_path, "timm resnet"), **chosen)
    with pytest.raises(PowerCutError):
        ran(tmp_path / "cut", case(tmp_path, "timm resnet"), cut_at, **chosen)
    resumed = ran(tmp_path / "cut", case(tmp_path, "timm resnet"), **chosen)
    assert (resumed.sha256, resumed.adapted) == (whole.sha256, whole.adapted)


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "fine_tuning", "freeze_until": None},
        {"strategy": "gradual_unfreezing", "freeze_until": None},
        {"strategy": "fine_tuning", "freeze_until": None, "epochs": 1, "runs": 3},
    ],
    ids=str,
)
def test_stages_and_runs_go_on_with_the_view_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    of = case(tmp_path, "timm resnet")
    shown: list[int] = []
    own = InputRows.in_epoch

    def noted(rows: InputRows, epoch: int) -> InputRows:
        shown.append(epoch)
        assert len(rows.views) == 2
        return own(rows, epoch)

    monkeypatch.setattr(InputRows, "in_epoch", noted)
    ran(tmp_path, of, **chosen, limit_bytes=100)
    # Stage one shows kept features; without room for them they are computed for all views at once.
    expected = [1, 2] if chosen["strategy"] == "gradual_unfreezing" else [0, 1, 2]
    assert sorted(set(shown)) == expected


@pytest.mark.parametrize("family", TRAINED)
@pytest.mark.parametrize("limit_bytes", [1 << 30, 100])
def test_a_head_is_solved_on_all_views_together(tmp_path: Path, family: MediaArchitecture, limit_bytes: int) -> None:
    chosen: dict[str, Any] = {"strategy": "feature_extraction", "freeze_until": None, "views": 4, "epochs": 1}
    of = case(tmp_path, family)
    done = ran(tmp_path, of, limit_bytes=limit_bytes, **chosen)
    twin = case(tmp_path, family)
    point = freeze(twin.model, "feature_extraction", None, example=of.train.batch([0, 1]))
    views = [View("light", 3, number) for number in range(4)]
    in_each = [replace(of.train, views=(view,)).in_epoch(0) for view in views]
    features = torch.cat([run_through(twin.model, point, rows, "float32") for rows in in_each])
    assert len(features) == 32
    held = run_through(twin.model, point, of.validation, "float32")
    solved = solve_head(
        features,
        of.train.targets.repeat(4),
        validation=(held, of.validation.targets),
        outputs=2,
        objective=OneLabel(),
        refit=Refit(OneLabel(), copies=4),
    )
    assert done.adapted.head_penalty == solved.penalty
    assert torch.allclose(done.model.output_layer.weight, solved.weight, atol=1e-4)
    assert torch.allclose(done.model.output_layer.bias, solved.bias, atol=1e-4)


def test_an_mlp_head_learns_from_the_views(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"strategy": "feature_extraction", "freeze_until": None, "head": "mlp", "epochs": 2}
    told = [
        ran(tmp_path / name, case(tmp_path, "timm resnet"), augmentation=name, **chosen) for name in ("light", "none")
    ]
    assert told[0].adapted.epochs != told[1].adapted.epochs
    assert "frozen part: ran once for 20 rows, 0 were kept" in told[0].said


@pytest.mark.parametrize("strategy", ["fine_tuning", "feature_extraction"])
def test_texts_have_no_views_and_training_on_them_is_refused(tmp_path: Path, strategy: str) -> None:
    base = write_tiny_model(tmp_path / "base")
    rows = Case(tiny_classifier(base), tiny_rows(base, 8), tiny_rows(base, 4, seed=1))
    with pytest.raises(SettingsError, match="texts have no random views, images and sounds have; set it to none"):
        ran(tmp_path, rows, strategy=strategy, freeze_until=None)
