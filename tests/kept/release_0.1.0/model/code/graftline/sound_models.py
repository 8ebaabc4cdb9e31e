"""Speech models: sounds as the checkpoint's own feature extractor reads them, and the mean over their real frames."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import graftline.torchvision_import  # noqa: F401 - must come before transformers

# isort: split
from transformers import AutoConfig, AutoFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from graftline.augmentation import View, augmented_sound, named
from graftline.backbones import incomplete, load_transformers, read_config, save_transformers
from graftline.batching import bounded_batches, equal_length_batches
from graftline.digests import lines_sha256
from graftline.errors import BaseModelRefusedError
from graftline.family import Family, Pooling
from graftline.media import Medium, media_of
from graftline.preprocessing import Reading
from graftline.sounds import Samples, UnreadableSoundError, decode_sound, sound_seconds
from graftline.text import pool

# Enough sound to fill the processor in a prediction; its activations are many times larger than it.
BATCH_SECONDS = 16
# Whisper reads each sound as half a minute, which fills the processor alone.
BATCH_WHISPER_SOUNDS = 2
SAMPLES, FEATURES, MASK = "input_values", "input_features", "attention_mask"
WHISPER_PREFIX = "encoder."


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that is not yet decoded, and how much of it is read."""

    medium: Medium
    samples: int
    """At the rate of the model."""

    def decode(self, rate: int) -> Samples:
        """Exactly so many samples. Raises: ValueError if the sound cannot be decoded."""
        try:
            decoded = decode_sound(self.medium.read(), rate)[: self.samples]
        except UnreadableSoundError as error:
            raise self.medium.unreadable("sound", error) from None
        # The resampler may give one sample less than the length says.
        fitted: Samples = torch.nn.functional.pad(torch.from_numpy(decoded), (0, self.samples - len(decoded))).numpy()
        return fitted


@dataclass(frozen=True)
class SpeechPreprocessor:
    """Samples, for models whose own convolutions make frames of them."""

    extractor: Any
    reading: Reading
    shortest: int
    """Samples of which the convolutions make one frame."""
    mixes_lengths: bool
    """Whether a sound is heard alike beside a longer one. Group norms hear the padding, and no mask hides it."""
    # The frozen part runs one sound at a time: hardly two are equally long, and filling up costs more than it gains.
    batch_length = 1

    def encode(self, raws: Sequence[object]) -> list[Sound]:
        """The sounds, not yet decoded. Raises: ValueError naming the first that is none or too short to be heard."""
        sounds = [_sound(medium, self.reading, self.extractor.sampling_rate) for medium in media_of(raws, "a sound")]
        for sound in sounds:
            if sound.samples < self.shortest:
                raise ValueError(
                    f"{sound.medium.name}: {sound.samples} samples at {self.extractor.sampling_rate} Hz, of which the"
                    f" model hears nothing, expected at least {self.shortest}; leave it out"
                )
        return sounds

    def length(self, row: Sound) -> int:
        """Samples."""
        return row.samples

    def padded(self, row: Sound) -> Sound:
        """As it is: not every such model has a mask that would hide silence."""
        return row

    def key(self, row: Sound) -> str:
        """A digest of the file's bytes, of how much is read of them, and of the view."""
        return lines_sha256(["alone", *_read_of(row)])[:32]

    def in_view(self, row: Sound, view: View) -> Sound:
        """The sound, changed at random once it is decoded."""
        return replace(row, medium=replace(row.medium, view=view))

    def collate(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """The sounds decoded, and which samples are real: each (batch, longest row)."""
        rate = self.extractor.sampling_rate
        values = self.extractor(
            [_heard(row, rate, self.key) for row in rows],
            sampling_rate=rate,
            padding=True,
            return_attention_mask=True,  # without it, the padding counts in each sound's mean and variance
            return_tensors="pt",
        )
        return {SAMPLES: values[SAMPLES], MASK: _real_samples(rows)}

    def blank(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """A batch of the same shape for which nothing is read."""
        mask = _real_samples(rows)
        return {SAMPLES: torch.zeros(()).expand(mask.shape), MASK: mask}

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Sounds of similar length beside each other; of equal length, where padding would be heard."""
        most = int(BATCH_SECONDS * self.extractor.sampling_rate)
        if self.mixes_lengths:
            return bounded_batches(lengths, most)
        return equal_length_batches(lengths, most, filled=False)

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)


@dataclass(frozen=True)
class WhisperPreprocessor:
    """Log-mel spectrograms of half a minute each, whatever the sound's length."""

    extractor: Any
    reading: Reading
    mixes_lengths = True

    @property
    def frames(self) -> int:
        """Frames that the encoder makes of every sound: two of the spectrogram become one."""
        return int(self.extractor.nb_max_frames) // 2

    @property
    def batch_length(self) -> int:
        """Frames in a batch of the frozen part."""
        return BATCH_WHISPER_SOUNDS * self.frames

    def encode(self, raws: Sequence[object]) -> list[Sound]:
        """The sounds, not yet decoded. Raises: ValueError naming the first that is none."""
        rate, most = self.extractor.sampling_rate, self.extractor.n_samples
        sounds = [_sound(medium, self.reading, rate) for medium in media_of(raws, "a sound")]
        return [Sound(sound.medium, min(sound.samples, most)) for sound in sounds]

    def length(self, row: Sound) -> int:  # noqa: ARG002 - of every sound
        """Frames, of every sound as many."""
        return self.frames

    def padded(self, row: Sound) -> Sound:
        """As it is: all have as many frames."""
        return row

    def key(self, row: Sound) -> str:
        """A digest of the file's bytes, of how much is read of them, and of the view."""
        return lines_sha256([str(BATCH_WHISPER_SOUNDS), *_read_of(row)])[:32]

    def in_view(self, row: Sound, view: View) -> Sound:
        """The sound, changed at random once it is decoded."""
        return replace(row, medium=replace(row.medium, view=view))

    def collate(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """Spectrograms (batch, mels, 2 frames), and which frames hold sound (batch, frames)."""
        rate = self.extractor.sampling_rate
        values = self.extractor([_heard(row, rate, self.key) for row in rows], sampling_rate=rate, return_tensors="pt")
        return {FEATURES: values[FEATURES], MASK: self._real_frames(rows)}

    def blank(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """A batch of the same shape for which nothing is read."""
        shape = (len(rows), self.extractor.feature_size, 2 * self.frames)
        return {FEATURES: torch.zeros(()).expand(shape), MASK: self._real_frames(rows)}

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """A few sounds at a time."""
        return bounded_batches(lengths, self.batch_length)

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)

    def _real_frames(self, rows: Sequence[Sound]) -> Tensor:
        real = torch.tensor([math.ceil(row.samples / (2 * self.extractor.hop_length)) for row in rows])
        return torch.arange(self.frames) < real[:, None]


def _sound(medium: Medium, reading: Reading, rate: int) -> Sound:
    try:
        seconds = sound_seconds(medium.read()) if medium.seconds is None else medium.seconds
    except UnreadableSoundError as error:
        raise medium.unreadable("sound", error) from None
    return Sound(medium, max(1, round(min(seconds, reading.max_seconds) * rate)))


def _read_of(row: Sound) -> list[str]:
    return [row.medium.digest(), str(row.samples), *named(row.medium.view)]


def _heard(row: Sound, rate: int, key_of: Callable[[Sound], str]) -> Samples:
    """The samples as the model is to hear them, in the row's view."""
    samples = row.decode(rate)
    return samples if row.medium.view is None else augmented_sound(samples, rate, key_of(row))


def _real_samples(rows: Sequence[Sound]) -> Tensor:
    samples = torch.tensor([row.samples for row in rows])
    return torch.arange(int(samples.max())) < samples[:, None]


def _load_extractor(folder: Path) -> Any:
    try:
        return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError):
        raise BaseModelRefusedError(
            f"{folder.name}: holds no feature extractor that transformers can load, expected preprocessor_config.json"
            " as the publisher of a speech model wrote it; choose a base model of that kind"
        ) from None


def _speech_preprocessor(folder: Path, reading: Reading) -> SpeechPreprocessor:
    extractor, config = _load_extractor(folder), read_config(folder)
    if "conv_kernel" not in config:
        raise BaseModelRefusedError(
            f"{folder.name}: is {config.get('model_type')}, expected a model that reads samples through convolutions of"
            " its own (Wav2Vec2, HuBERT, WavLM and their kind) or Whisper; choose one of these"
        )
    return SpeechPreprocessor(
        extractor, reading, shortest=_receptive_field(config),
        mixes_lengths=config.get("feat_extract_norm") != "group",
    )  # fmt: skip


def _receptive_field(config: Mapping[str, Any]) -> int:
    samples = 1
    for kernel, stride in reversed([*zip(config["conv_kernel"], config["conv_stride"], strict=True)]):
        samples = (samples - 1) * stride + kernel
    return samples


def _speech_vectors(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: Pooling) -> Tensor:
    hidden = backbone(batch[SAMPLES], attention_mask=batch[MASK]).last_hidden_state
    config = cast("Any", backbone).config
    frames = batch[MASK].sum(1)
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
    return pool(hidden, torch.arange(hidden.shape[1], device=frames.device) < frames[:, None], pooling)


def _load_speech(folder: Path, *, scratch: bool = False) -> nn.Module:
    backbone = load_transformers(folder, scratch=scratch)
    # Masking of the frames and leaving out whole layers at random belong to pre-training. A frozen part that draws
    # random numbers could not be kept, and a left out layer might be the one at the freeze point.
    config = cast("Any", backbone).config
    config.apply_spec_augment, config.layerdrop = False, 0.0
    return backbone


def _load_whisper(folder: Path, *, scratch: bool = False) -> nn.Module:
    """The encoder alone, from a folder that may hold the decoder, too."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config.encoder_layerdrop = 0.0
    encoder: nn.Module = WhisperEncoder(config)
    if scratch:
        return encoder
    weights = {
        name.partition(WHISPER_PREFIX)[2]: tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
        if name.startswith((WHISPER_PREFIX, f"model.{WHISPER_PREFIX}"))
    }
    expected = encoder.state_dict()
    noise = [name for name in expected if name not in weights or weights[name].shape != expected[name].shape]
    if noise:
        raise incomplete(folder, type(encoder).__name__, noise)
    encoder.load_state_dict(weights)
    return encoder


def _save_whisper(encoder: nn.Module, folder: Path) -> None:
    cast("Any", encoder).config.save_pretrained(folder)
    weights = {f"{WHISPER_PREFIX}{name}": tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, folder / "model.safetensors")


def _whisper_preprocessor(folder: Path, reading: Reading) -> WhisperPreprocessor:
    return WhisperPreprocessor(_load_extractor(folder), reading)


def _whisper_vectors(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: Pooling) -> Tensor:
    return pool(backbone(batch[FEATURES]).last_hidden_state, batch[MASK], pooling)


SPEECH = Family(
    load=_load_speech,
    save=save_transformers,
    preprocessor=_speech_preprocessor,
    vectors=_speech_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.hidden_size),
    pooling=lambda *_: "mean",
)
WHISPER = Family(
    load=_load_whisper,
    save=_save_whisper,
    preprocessor=_whisper_preprocessor,
    vectors=_whisper_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.d_model),
    pooling=lambda *_: "mean",
)
