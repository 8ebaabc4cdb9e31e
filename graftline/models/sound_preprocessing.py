"""Sounds on their way into a model: decoded when their batch comes up, cut, and seen in their view."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoFeatureExtractor

from graftline.data.sound_containers import UnreadableSoundError
from graftline.data.sounds import Samples, decode_sound, sound_seconds
from graftline.errors import BaseModelRefusedError
from graftline.models.media import Medium, media_of
from graftline.models.preprocessing import Reading, row_key
from graftline.models.views import View, augmented_sound

# The input that says which samples or frames are real.
MASK = "attention_mask"


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

    def heard(self, rate: int, key_of: Callable[["Sound"], str]) -> Samples:
        """The samples as the model is to hear them, in the sound's view."""
        samples = self.decode(rate)
        return samples if self.medium.view is None else augmented_sound(samples, rate, key_of(self))

    def key(self, computed: str) -> str:
        """A digest of the file's bytes, of how much is read of them, and of the view."""
        return row_key(computed, [self.medium.digest(), str(self.samples)], self.medium.view)

    def carried(self) -> "Sound":
        """The sound with its bytes. Raises: as `Medium.read`."""
        return replace(self, medium=self.medium.carried())

    def in_view(self, view: View) -> "Sound":
        """The sound, changed at random once it is decoded."""
        return replace(self, medium=replace(self.medium, view=view))


def sounds_of(raws: Iterable[object], reading: Reading, rate: int) -> list[Sound]:
    """The sounds, not yet decoded. Raises: ValueError naming the first that is none."""
    return [_sound(medium, reading, rate) for medium in media_of(raws, "a sound")]


def load_extractor(folder: Path) -> Any:
    """The checkpoint's feature extractor. Raises: BaseModelRefusedError if there is none."""
    try:
        return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError):
        raise BaseModelRefusedError(
            f"{folder.name}: holds no feature extractor that transformers can load, expected preprocessor_config.json"
            " as the publisher of a speech model wrote it; choose a base model of that kind"
        ) from None


def _sound(medium: Medium, reading: Reading, rate: int) -> Sound:
    try:
        seconds = sound_seconds(medium.read()) if medium.seconds is None else medium.seconds
    except UnreadableSoundError as error:
        raise medium.unreadable("sound", error) from None
    return Sound(medium, max(1, round(min(seconds, reading.max_seconds) * rate)))
