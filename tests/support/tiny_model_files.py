"""Folders that look like base models, a few hundred bytes each."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A tiny model\n"


def write_model(folder: Path, weights: int = 64) -> Path:
    """A base model with `weights` float32 weights, a configuration, a vocabulary and a model card."""
    (folder / "1_Pooling").mkdir(parents=True)
    values = np.random.default_rng(0).normal(size=weights).astype(np.float32)
    save_file({"a": values[: weights // 2], "b": values[weights // 2 :]}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "vocab.txt").write_text("[PAD]\nfilm\nélan\n.\n")
    (folder / "README.md").write_text(CARD)
    return folder


def flip_byte(path: Path, position: int = -1) -> None:
    """In place, as a fault does: in all files that share it."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
