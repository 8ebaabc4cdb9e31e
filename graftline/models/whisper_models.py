"""Encoders of Whisper, which read each sound as half a minute."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from graftline.compute.device import Batch
from graftline.models.batching import bounded_batches
from graftline.models.family import Family
from graftline.models.pooling import Pooling, pool
from graftline.models.preprocessing import Reading
from graftline.models.sound_preprocessing import MASK, Sound, load_extractor, sounds_of
from graftline.models.transformers_backbones import incomplete, transformers_config
from graftline.models.views import View

# Each sound is half a minute, which fills the processor alone.
BATCH_SOUNDS = 2
FEATURES = "input_features"
PREFIX = "encoder."


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
        return BATCH_SOUNDS * self.frames

    def encode(self, raws: Iterable[object]) -> list[Sound]:
        """The sounds, not yet decoded. Raises: ValueError naming the first that is none."""
        most = self.extractor.n_samples
        sounds = sounds_of(raws, self.reading, self.extractor.sampling_rate)
        return [replace(sound, samples=min(sound.samples, most)) for sound in sounds]

    def length(self, row: Sound) -> int:  # noqa: ARG002 - of every sound
        """Frames, of every sound as many."""
        return self.frames

    def padded(self, row: Sound) -> Sound:
        """As it is: all have as many frames."""
        return row

    def key(self, row: Sound) -> str:
        """A digest of the file's bytes, of how much is read of them, and of the view."""
        return row.key(str(BATCH_SOUNDS))

    def carried(self, row: Sound) -> Sound:
        """The sound with its bytes. Raises: as `Medium.read`."""
        return row.carried()

    def in_view(self, row: Sound, view: View) -> Sound:
        """The sound, changed at random once it is decoded."""
        return row.in_view(view)

    def collate(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """Spectrograms (batch, mels, 2 frames), and which frames hold sound (batch, frames)."""
        rate = self.extractor.sampling_rate
        values = self.extractor([row.heard(rate, self.key) for row in rows], sampling_rate=rate, return_tensors="pt")
        return {FEATURES: values[FEATURES], MASK: self._real_frames(rows)}

    def blank(self, rows: Sequence[Sound]) -> dict[str, Tensor]:
        """A batch of the same shape for which nothing is read."""
        shape = (len(rows), self.extractor.feature_size, 2 * self.frames)
        return {FEATURES: torch.zeros(()).expand(shape), MASK: self._real_frames(rows)}

    def batches(self, lengths: Sequence[int]) -> Sequence[list[int]]:
        """A few sounds at a time."""
        return bounded_batches(lengths, self.batch_length)

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)

    def _real_frames(self, rows: Sequence[Sound]) -> Tensor:
        real = torch.tensor([math.ceil(row.samples / (2 * self.extractor.hop_length)) for row in rows])
        return torch.arange(self.frames) < real[:, None]


def _load_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    """The encoder alone, from a folder that may hold the decoder, too."""
    config = transformers_config(folder)
    config.encoder_layerdrop = 0.0
    encoder: nn.Module = WhisperEncoder(config)
    if scratch:
        return encoder
    weights = {
        name.partition(PREFIX)[2]: tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
        if name.startswith((PREFIX, f"model.{PREFIX}"))
    }
    expected = encoder.state_dict()
    noise = [name for name in expected if name not in weights or weights[name].shape != expected[name].shape]
    if noise:
        raise incomplete(folder, type(encoder).__name__, noise)
    encoder.load_state_dict(weights)
    return encoder


def _save_backbone(encoder: nn.Module, folder: Path) -> None:
    cast("Any", encoder).config.save_pretrained(folder)
    weights = {f"{PREFIX}{name}": tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, folder / "model.safetensors")


def _load_preprocessor(folder: Path, reading: Reading) -> WhisperPreprocessor:
    return WhisperPreprocessor(load_extractor(folder), reading)


def _vectors(backbone: nn.Module, batch: Batch, pooling: Pooling) -> Tensor:
    return pool(backbone(batch[FEATURES]).last_hidden_state, batch[MASK], pooling)


WHISPER = Family(
    recognises=lambda config: config.get("model_type") == "whisper",
    load=_load_backbone,
    save=_save_backbone,
    preprocessor=_load_preprocessor,
    vectors=_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.d_model),
    pooling=lambda *_: "mean",
    blocks={"WhisperEncoder": r"layers\.\d+"},
)
