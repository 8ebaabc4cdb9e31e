"""Replay in every family and at every freeze point: what runs once is all that is frozen, and nothing is lost by it."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from graftline.data.sounds import Samples, decode_sound
from graftline.frozen.filling import fill
from graftline.frozen.freezing import FreezePoint, freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.proof import plan_for
from graftline.frozen.replay import capture, replaying
from graftline.frozen.rows import InputRows, ReplayedRows, in_parts
from graftline.frozen.store import FeatureStore
from graftline.models import image_preprocessing, sound_preprocessing
from graftline.models.blocks import find_blocks
from graftline.models.classifier import Classifier
from graftline.models.views import views_of
from graftline.settings.adaptation import Strategy
from graftline.training.loop import train
from graftline.training.plan import Plan, Rows, Training
from graftline.training.progress import Epoch
from graftline.training.single_label import OneLabel
from tests.support.tiers import sampled, seldom
from tests.support.tiny_media import (
    AUDIO_ARCHITECTURES,
    IMAGE_ARCHITECTURES,
    MEDIA_ARCHITECTURES,
    MediaArchitecture,
    tiny_media_classifier,
    tiny_media_rows,
    write_tiny_media_model,
)
from tests.support.tiny_models import ARCHITECTURES, tiny_classifier, tiny_rows, write_tiny_model

pytestmark = pytest.mark.full

# No smaller ones of these can be made: a second or two for each pass.
LARGE = ("timm vgg", "timm inception_v3")
ALL = (*ARCHITECTURES, *MEDIA_ARCHITECTURES)
SAMPLE = ("bert", "gpt2", "timm resnet", "vit", "whisper")
FAMILIES, MEDIA = sampled(ALL, *SAMPLE), sampled(MEDIA_ARCHITECTURES, *SAMPLE)
# Of all others the logits at every freeze point are looked at each time, a whole training seldom.
TRAINED = seldom(ALL, *SAMPLE)
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
Cut = tuple[Strategy, str | None]


@dataclass(frozen=True)
class Tiny:
    """A tiny model of one family, and rows for it."""

    model: Classifier
    rows: Callable[[int, int], InputRows]

    def cuts(self) -> list[Cut]:
        """Every freeze point that there is."""
        count = len(find_blocks(self.model))
        return [*(("partial", str(number)) for number in range(1, count)), ("feature_extraction", None)]

    def freeze(self, cut: Cut) -> FreezePoint:
        return freeze(self.model, *cut, example=self.rows(2, 0).batch([0, 1]))


def tiny(folder: Path, family: str) -> Tiny:
    if family in ARCHITECTURES:
        base = write_tiny_model(folder / "base", family)
        return Tiny(tiny_classifier(base), lambda count, seed: tiny_rows(base, count, seed=seed))
    chosen = cast("MediaArchitecture", family)
    base = write_tiny_media_model(folder / "base", chosen)
    return Tiny(
        tiny_media_classifier(base, chosen), lambda count, seed: tiny_media_rows(base, chosen, count, seed=seed)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_replayed_logits_are_those_of_the_plain_pass_at_every_freeze_point(tmp_path: Path, family: str) -> None:
    case = tiny(tmp_path, family)
    rows = case.rows(4, 0)
    batch, blank = rows.batch(range(4)), rows.blank(range(4))
    assert len(case.cuts()) >= 3
    for cut in case.cuts():
        point = case.freeze(cut)
        entering = capture(case.model, point, batch)
        with torch.no_grad():
            plain = case.model.eval()(**batch)
            with replaying(case.model, point, plan_for(case.model, point, rows)) as give:
                give(entering)
                assert torch.equal(case.model(**(blank or batch)), plain), cut
                give(entering.roll(1, 0))
                assert not torch.equal(case.model(**(blank or batch)), plain), cut
            assert torch.equal(case.model(**batch), plain), f"{cut}: the model is not as it was"


@dataclass(frozen=True)
class CapturedRows:
    """Rows whose frozen part is captured by a twin model in the very batch in which it is replayed."""

    rows: InputRows
    twin: Classifier
    point: FreezePoint
    give: Callable[[Tensor], None]

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
        return in_parts(self.rows, rows, lambda part: self._replayed(model, part))

    def _replayed(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            self.give(capture(self.twin, self.point, self.rows.batch(rows)))
        output: Tensor = model(**(self.rows.blank(rows) or self.rows.batch(rows)))
        return output


class ForeignRows(CapturedRows):
    """The same, with each row given what was captured of another."""

    def _replayed(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            self.give(capture(self.twin, self.point, self.rows.batch(rows)).roll(1, 0))
        output: Tensor = model(**(self.rows.blank(rows) or self.rows.batch(rows)))
        return output


def trained(model: Classifier, point: FreezePoint, sides: Sequence[Rows], folder: Path, plan: Plan) -> list[Epoch]:
    rows, validation = sides
    return train(Training(model, point, rows, validation, OneLabel(), plan), folder)


Trained = tuple[list[Epoch], dict[str, Tensor]]


def plain_training(tmp_path: Path, case: Tiny, cut: Cut, plan: Plan) -> Trained:
    """Its epochs and weights."""
    point = case.freeze(cut)
    model = copy.deepcopy(case.model)
    sides = [case.rows(10, 0), case.rows(6, 1)]
    epochs = trained(model, point, sides, tmp_path / f"plain-{cut[0]}-{cut[1]}", plan)
    return epochs, dict(model.state_dict())


def replayed_training(
    tmp_path: Path, case: Tiny, cut: Cut, plan: Plan, of: type[CapturedRows] = CapturedRows
) -> Trained:
    """Those of a training of the same rows that replays what a twin of the model captures."""
    point = case.freeze(cut)
    model, twin = copy.deepcopy(case.model), copy.deepcopy(case.model)
    sides = [case.rows(10, 0), case.rows(6, 1)]
    with replaying(model, point, plan_for(model, point, sides[0])) as give:
        captured = [of(side, twin, point, give) for side in sides]
        epochs = trained(model, point, captured, tmp_path / f"{of.__name__}-{cut[0]}-{cut[1]}", plan)
    return epochs, dict(model.state_dict())


def some_cuts(case: Tiny, family: str) -> list[Cut]:
    """Every freeze point; of large models the first one and the last."""
    cuts = case.cuts()
    return cuts if family not in LARGE else [cuts[0], cuts[-1]]


@pytest.mark.parametrize("family", TRAINED)
def test_a_replayed_training_ends_with_the_weights_and_losses_of_the_plain_one(tmp_path: Path, family: str) -> None:
    # Bit for bit, dropout included: the frozen part draws no random numbers in either.
    case = tiny(tmp_path, family)
    for cut in some_cuts(case, family):
        plain_epochs, plain = plain_training(tmp_path, case, cut, PLAN)
        epochs, replayed = replayed_training(tmp_path, case, cut, PLAN)
        assert epochs == plain_epochs, cut
        assert [name for name, tensor in replayed.items() if not torch.equal(tensor, plain[name])] == [], cut
        assert any(not torch.equal(tensor, plain[name]) for name, tensor in case.model.state_dict().items())


@pytest.mark.parametrize("family", sampled(["timm resnet", "wav2vec2", "whisper"], "timm resnet"))
def test_a_replayed_training_on_random_views_ends_with_the_weights_and_losses_of_the_plain_one(
    tmp_path: Path, family: str
) -> None:
    plain_case, plan = tiny(tmp_path, family), replace(PLAN, epochs=3)
    views = views_of("light", seed=5, count=2)
    case = Tiny(plain_case.model, lambda count, seed: replace(plain_case.rows(count, seed), views=views))
    for cut in (case.cuts()[0], case.cuts()[-1]):
        plain_epochs, plain = plain_training(tmp_path / "views", case, cut, plan)
        epochs, replayed = replayed_training(tmp_path / "views", case, cut, plan)
        assert epochs == plain_epochs, cut
        assert [name for name, tensor in replayed.items() if not torch.equal(tensor, plain[name])] == [], cut
        without, _ = plain_training(tmp_path / "none", plain_case, cut, plan)
        assert without != plain_epochs, f"{cut}: the views change nothing"


# float64 rounds by 1e-16 of a number. With AVX-512, with AVX2 and with neither nothing was apart at all, and 1e-13 at
# most if features are not rounded at the cut; features that are wrong by a millionth move a weight by 6e-9 at least.
FLOAT64_TOLERANCE = 1e-9


@pytest.mark.parametrize("family", seldom([name for name in ALL if name not in LARGE], *SAMPLE))
def test_a_training_from_the_store_has_the_losses_and_weights_of_the_plain_one(tmp_path: Path, family: str) -> None:
    """In float64: the store's rows ran in other batches than these, cut to their own length, which rounds otherwise.

    In float32 each processor's rounding decides where a gradient is zero but for it, as that of a shift in front of a
    convolution and a BatchNorm is: Adam makes a whole step of it, to one side or the other. EfficientNet's loss then
    was 0.00006 apart with AVX-512 and 0.00011 with AVX2.
    """
    case, plan = tiny(tmp_path, family), replace(PLAN, learning_rate=1e-4)
    sides = [case.rows(10, 0), case.rows(6, 1)]
    for cut in (case.cuts()[0], case.cuts()[-2]):
        point = case.freeze(cut)
        plain, replayed = (in_float64(copy.deepcopy(case.model), point) for _ in range(2))
        expected = trained(plain, point, sides, tmp_path / f"plain-{cut[1]}", plan)
        epochs = trained_from_store(replayed, point, sides, tmp_path / f"replayed-{cut[1]}", plan)
        assert losses_apart(expected, epochs) <= FLOAT64_TOLERANCE, cut
        for name, tensor in plain.state_dict().items():
            assert torch.allclose(replayed.state_dict()[name], tensor, rtol=0, atol=FLOAT64_TOLERANCE), (cut, name)


def in_float64(model: Classifier, point: FreezePoint) -> Classifier:
    """The model, computing in float64; but what crosses the cut is rounded to float32, as the store rounds it."""

    def widen(_: nn.Module, args: tuple[()], batch: dict[str, Tensor]) -> tuple[tuple[()], dict[str, Tensor]]:
        return args, {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}

    def round_off(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return args[0].float().double(), *args[1:]

    assert point.first_trainable is not None
    model.register_forward_pre_hook(widen, with_kwargs=True)
    model.get_submodule(point.first_trainable).register_forward_pre_hook(round_off)
    return model.double()


def trained_from_store(
    model: Classifier, point: FreezePoint, sides: Sequence[InputRows], folder: Path, plan: Plan
) -> list[Epoch]:
    """The epochs of a model in float64 that trains from what a store keeps."""
    with FeatureStore(folder / "store") as store:
        for side in sides:
            fill(store, model, point, side, row_keys(side))
        with replaying(model, point, plan_for(model, point, sides[0])) as give:
            kept = [ReplayedRows(side, store, row_keys(side), lambda rows: give(rows.double())) for side in sides]
            return trained(model, point, kept, folder / "checkpoints", plan)


# bfloat16 keeps 8 bits, so that each rounding moves a number by up to 1/256 of itself; here some ten of them add up.
# In a plain pass, what is in front of the cut is rounded in every layer; what is kept was so, or not, and once more.
# Where sums are added up in another order, other numbers are rounded up: at most 0.0381 of the largest logit was apart
# with AVX-512, 0.0384 with AVX2 and with neither; a plain pass itself is 0.0348 from the exact one, other rows' 0.175.
BFLOAT16_TOLERANCE = 10 / 256
# Of mean losses, in which the roundings of rows cancel: 0.0034 apart at most with AVX-512, 0.0032 with AVX2, 0.0030
# with neither. With other rows' features these move by 0.008 at least, on all of them.
LOSS_TOLERANCE = 1.5 / 256


# To the bit, in float32, all families are looked at above; slow where a processor only emulates bfloat16.
@pytest.mark.parametrize("family", seldom(ALL, *SAMPLE))
def test_in_bfloat16_replayed_logits_stay_within_rounding_of_the_plain_ones(tmp_path: Path, family: str) -> None:
    case = tiny(tmp_path, family)
    rows, chosen, twin = case.rows(6, 0), range(6), copy.deepcopy(case.model)
    for cut in some_cuts(case, family):
        point, model = case.freeze(cut), case.model.eval()
        with torch.no_grad():
            exact = rows.logits(model, chosen)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                plain = rows.logits(model, chosen).float()
                with replaying(model, point, plan_for(model, point, rows)) as give:
                    replayed = CapturedRows(rows, twin, point, give).logits(model, chosen).float()
                stored = from_bfloat16_store(tmp_path / f"store {cut[1]}", case, point, rows)
        allowed = BFLOAT16_TOLERANCE * float(exact.abs().max())
        for one in (replayed, stored):
            assert float((one - plain).abs().max()) <= allowed, cut
            assert float((one - exact).abs().max()) <= allowed, cut


def from_bfloat16_store(folder: Path, case: Tiny, point: FreezePoint, rows: InputRows) -> Tensor:
    """The logits from a store that was filled, as in a run, by a frozen part that computed in bfloat16 as well."""
    with FeatureStore(folder, "bfloat16") as store:
        with torch.autocast("cpu", enabled=False):
            fill(store, case.model, point, rows, row_keys(rows), precision="bfloat16")
        with replaying(case.model, point, plan_for(case.model, point, rows)) as give:
            kept = ReplayedRows(rows, store, row_keys(rows), give)
            return kept.logits(case.model.eval(), range(len(rows.encoded))).float()


@pytest.mark.parametrize(
    "family",
    seldom(
        [*ARCHITECTURES, *AUDIO_ARCHITECTURES, "timm vit", "timm convnext", "vit", "convnext"],
        "bert",
        "gpt2",
        "whisper",
        "vit",
    ),
)
def test_in_bfloat16_the_losses_of_a_replayed_training_stay_within_rounding(tmp_path: Path, family: str) -> None:
    # Not where batches of four are normalised: a BatchNorm divides by their spread, which magnifies any rounding.
    case = tiny(tmp_path, family)
    plan = replace(PLAN, precision="bfloat16", learning_rate=1e-4)
    for cut in (case.cuts()[0], case.cuts()[-1]):
        plain, _ = plain_training(tmp_path, case, cut, plan)
        replayed, _ = replayed_training(tmp_path, case, cut, plan)
        assert losses_apart(plain, replayed) <= LOSS_TOLERANCE, cut
        foreign, _ = replayed_training(tmp_path, case, cut, plan, of=ForeignRows)
        assert losses_apart(plain, foreign) > LOSS_TOLERANCE, f"{cut}: nor would wrong rows be noticed"


def losses_apart(one: Sequence[Epoch], other: Sequence[Epoch]) -> float:
    pairs = [(epoch.train_loss, epoch.validation_loss) for epoch in one]
    others = [(epoch.train_loss, epoch.validation_loss) for epoch in other]
    return max(abs(a - b) for pair, its in zip(pairs, others, strict=True) for a, b in zip(pair, its, strict=True))


@pytest.mark.parametrize("family", MEDIA)
def test_no_file_is_decoded_in_a_replay(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = tiny(tmp_path, family)
    rows, point = case.rows(4, 0), case.freeze(case.cuts()[0])
    plan = plan_for(case.model, point, rows)
    plain = case.model.eval()(**rows.batch([3, 0]))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was decoded")

    with FeatureStore(tmp_path / "store") as store:
        keys = row_keys(rows)
        fill(store, case.model, point, rows, keys)
        monkeypatch.setattr(image_preprocessing, "decode_image", refuse)
        monkeypatch.setattr(sound_preprocessing, "decode_sound", refuse)
        with replaying(case.model, point, plan) as give:
            logits = ReplayedRows(rows, store, keys, give).logits(case.model.eval(), [3, 0])
    # In float32, but in batches of another size: 3e-7 apart at most, with AVX-512, AVX2 or neither.
    assert torch.allclose(logits, plain, atol=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2 group norm", "whisper"])
def test_sounds_of_different_lengths_are_each_decoded_once(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = tiny(tmp_path, family)
    rows, point, decoded = case.rows(7, 0), case.freeze(case.cuts()[0]), list[int]()

    def noted(content: bytes, rate: int) -> Samples:
        decoded.append(len(content))
        return decode_sound(content, rate)

    monkeypatch.setattr(sound_preprocessing, "decode_sound", noted)
    with FeatureStore(tmp_path / "store") as store:
        assert fill(store, case.model, point, rows, row_keys(rows)) == 7
    # Whisper hears every sound as equally long, and runs two at a time.
    assert len(decoded) == (8 if family == "whisper" else 7)


@pytest.mark.parametrize("family", MEDIA)
def test_the_frozen_convolutions_do_not_run_in_a_replay(tmp_path: Path, family: str) -> None:
    case = tiny(tmp_path, family)
    rows, point = case.rows(4, 0), case.freeze(case.cuts()[-2])
    batch, blank = rows.batch(range(4)), rows.blank(range(4))
    assert blank is not None
    entering = capture(case.model, point, batch)
    ran: list[str] = []
    with replaying(case.model, point, plan_for(case.model, point, rows)) as give:
        give(entering)
        case.model(**blank)  # a module that hands its input on is asked once
        for name in point.frozen_modules:
            module = case.model.get_submodule(name)
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                module.register_forward_hook(lambda *_, name=name: ran.append(name))
        case.model(**blank)
        assert [name for name in ran if "forward" not in case.model.get_submodule(name).__dict__] == []


@pytest.mark.parametrize("family", sampled([name for name in IMAGE_ARCHITECTURES if name not in LARGE], *SAMPLE))
def test_what_is_kept_of_an_image_has_the_same_bits_whatever_rows_it_is_computed_with(
    tmp_path: Path, family: str
) -> None:
    _has_same_bits_in_other_company(tmp_path, family)


@pytest.mark.parametrize("family", sampled(AUDIO_ARCHITECTURES, *SAMPLE))
def test_what_is_kept_of_a_sound_has_the_same_bits_whatever_rows_it_is_computed_with(
    tmp_path: Path, family: str
) -> None:
    _has_same_bits_in_other_company(tmp_path, family)


def _has_same_bits_in_other_company(tmp_path: Path, family: str) -> None:
    # On every processor: the batches of two runs have one shape, and a row only has another place in them.
    case = tiny(tmp_path, family)
    rows, point = case.rows(9, 0), case.freeze(case.cuts()[0])
    keys = row_keys(rows)
    with FeatureStore(tmp_path / "all") as at_once, FeatureStore(tmp_path / "some") as bit_by_bit:
        fill(at_once, case.model, point, rows, keys)
        for chosen in ([5], [8, 1, 7, 0], [2, 3, 4, 6]):
            part = replace(rows, encoded=[rows.encoded[row] for row in chosen], targets=rows.targets[chosen])
            fill(bit_by_bit, case.model, point, part, row_keys(part))
        assert all(torch.equal(at_once.batch([key]), bit_by_bit.batch([key])) for key in keys)
