"""Speech models that make frames of a sound's samples by convolutions of their own: Wav2Vec2 and its kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from graftline.compute.device import Batch
from graftline.errors import BaseModelRefusedError
from graftline.models.batching import bounded_batches, equal_length_batches
from graftline.models.family import Family
from graftline.models.pooling import Pooling, pool
from graftline.models.preprocessing import Reading
from graftline.models.sound_preprocessing import MASK, Sound, load_extractor, sounds_of
from graftline.models.transformers_backbones import (
    is_of_transformers,
    load_transformers,
    read_config,
    save_transformers,
)
from graftline.models.views import View

# Enough sound to fill the processor in a prediction; its activations are many times larger than it.
BATCH_SECONDS = 16
SAMPLES = "input_values"
KIN = (
    "Wav2Vec2Model",
    "HubertModel",
    "WavLMModel",
    "Data2VecAudioModel",
    "UniSpeechModel",
    "UniSpeechSatModel",
    "SEWModel",
)


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

    def encode(self, raws: Iterable[object]) -> list[Sound]:
        """The sounds, not yet decoded. Raises: ValueError naming the first that is none or too short to be heard."""
        sounds = sounds_of(raws, self.reading, self.extractor.sampling_rate)
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
        return row.key("alone")

    def carried(self, row: Sound) -> Sound:
        """The sound with its bytes. Raises: as `Medium.read`."""
        return row.carried()

    def in_view(self, row: Sound, view: View) -> Sound:
        """The sound, changed at random once it is decoded."""
        return row.in_view(view)

    def collate(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """The sounds decoded, and which samples are real: each (batch, longest row)."""
        rate = self.extractor.sampling_rate
        values = self.extractor(
            [row.heard(rate, self.key) for row in rows],
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

    def batches(self, lengths: Sequence[int]) -> Sequence[list[int]]:
        """Sounds of similar length beside each other; of equal length, where padding would be heard."""
        most = int(BATCH_SECONDS * self.extractor.sampling_rate)
        if self.mixes_lengths:
            return bounded_batches(lengths, most)
        return equal_length_batches(lengths, most, filled=False)

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)


def _real_samples(rows: Sequence[Sound]) -> Tensor:
    samples = torch.tensor([row.samples for row in rows])
    return torch.arange(int(samples.max())) < samples[:, None]


def _load_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    backbone = load_transformers(folder, scratch=scratch)
    # Masking of the frames and leaving out whole layers at random belong to pre-training. A frozen part that draws
    # random numbers could not be kept, and a left out layer might be the one at the freeze point.
    config = cast("Any", backbone).config
    config.apply_spec_augment, config.layerdrop = False, 0.0
    return backbone


def _load_preprocessor(folder: Path, reading: Reading) -> SpeechPreprocessor:
    extractor, config = load_extractor(folder), read_config(folder)
    if "conv_kernel" not in config:
        raise BaseModelRefusedError(
            f"{folder.name}: is {config.get('model_type')}, expected a model that reads samples through convolutions of"
            " its own (Wav2Vec2, HuBERT, WavLM and their kind) or Whisper; choose one of these"
        )
    mixes_lengths = config.get("feat_extract_norm") != "group"
    return SpeechPreprocessor(extractor, reading, shortest=_receptive_field(config), mixes_lengths=mixes_lengths)


def _receptive_field(config: Mapping[str, Any]) -> int:
    samples = 1
    for kernel, stride in reversed([*zip(config["conv_kernel"], config["conv_stride"], strict=True)]):
        samples = (samples - 1) * stride + kernel
    return samples


def _vectors(backbone: nn.Module, batch: Batch, pooling: Pooling) -> Tensor:
    hidden = backbone(batch[SAMPLES], attention_mask=batch[MASK]).last_hidden_state
    config = cast("Any", backbone).config
    frames = batch[MASK].sum(1)
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
    return pool(hidden, torch.arange(hidden.shape[1], device=frames.device) < frames[:, None], pooling)


SPEECH = Family(
    recognises=is_of_transformers,
    load=_load_backbone,
    save=save_transformers,
    preprocessor=_load_preprocessor,
    vectors=_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.hidden_size),
    pooling=lambda *_: "mean",
    blocks=dict.fromkeys(KIN, r"encoder\.layers\.\d+"),
)
