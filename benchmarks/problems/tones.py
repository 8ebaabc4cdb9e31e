"""Tones of ten pitches in noise as WAV files, and an encoder of Whisper's smallest size with random weights.

Weights of a speech model come in no package. Random ones take as long, and hear pitches well enough to compare with.
"""

import io
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from benchmarks.problems.problem import Labelled, Task
from graftline.models.preprocessing import Reading

RATE = 16_000
PITCHES = tuple(round(200 * 2 ** (step / 3)) for step in range(10))
NOISE, SHORTEST, LONGEST = 0.3, 2.0, 8.0
SEED = 0
# openai/whisper-tiny; its decoder is not used and stays small.
SIZE = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536, "num_mel_bins": 80}
UNUSED = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 100,
          "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}  # fmt: skip


def tone_task(base: Path, *, rows: int, test_rows: int) -> Task:
    """Which of ten pitches it is."""
    random = np.random.default_rng(SEED)
    targets = [int(place) for place in random.integers(0, len(PITCHES), rows + test_rows)]
    files = [_wav(PITCHES[target], random) for target in targets]
    return Task(
        base=base,
        reading=Reading("audio"),
        labels=tuple(map(str, PITCHES)),
        train=Labelled(files[:rows], targets[:rows]),
        test=Labelled(files[rows:], targets[rows:]),
    )


def write_whisper(folder: Path) -> Path:
    """A folder as transformers saves it."""
    torch.manual_seed(SEED)
    WhisperModel(WhisperConfig(**SIZE, **UNUSED)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=SIZE["num_mel_bins"]).save_pretrained(folder)
    return folder


def _wav(hertz: float, random: np.random.Generator) -> bytes:
    seconds = np.arange(int(RATE * random.uniform(SHORTEST, LONGEST))) / RATE
    samples = 0.2 * np.sin(2 * np.pi * hertz * seconds + random.uniform(0, 6)) + random.normal(0, NOISE, len(seconds))
    content = io.BytesIO()
    soundfile.write(content, samples.clip(-1, 1).astype(np.float32), RATE, format="WAV")
    return content.getvalue()
