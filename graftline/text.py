"""Text models: a pre-trained backbone, pooled over its tokens, with a new head; and texts as tensors."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import graftline.torchvision_import  # noqa: F401 - must come before transformers

# isort: split
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from graftline.errors import BaseModelRefusedError
from graftline.files import write_json

Tokenizer = Any  # transformers' tokenizers carry no usable annotations
Encoded = dict[str, list[int]]
Pooling = Literal["mean", "first", "last"]

# Beside the backbone's own files: what transformers does not know of.
DESCRIPTION, HEAD = "graftline.json", "head.safetensors"
# What sentence-transformers calls them: until its version 5 a flag for each, since then one mode.
PUBLISHED_POOLING: tuple[tuple[str, str, Pooling], ...] = (
    ("pooling_mode_cls_token", "cls", "first"),
    ("pooling_mode_lasttoken", "lasttoken", "last"),
    ("pooling_mode_mean_tokens", "mean", "mean"),
)
# The dropout in front of the classification layer that BERT was published with (arXiv 1810.04805, section A.2).
HEAD_DROPOUT = 0.1


class TextClassifier(nn.Module):
    """Texts to logits: backbone, one vector per text, linear head.

    The head stands apart from the backbone so that the vector in front of it can be kept and replayed, whatever the
    architecture. A backbone's own pooler is left out: checkpoints often lack it or never trained it.
    """

    def __init__(self, backbone: nn.Module, *, pooling: Pooling, labels: Sequence[str], max_tokens: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = cast("nn.Module", None)
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Linear(_width(backbone), len(labels)))
        self.pooling = pooling
        self.labels = list(labels)
        self.max_tokens = max_tokens

    def forward(self, **batch: Tensor) -> Tensor:
        """Logits: (batch, labels)."""
        hidden = self.backbone(**batch).last_hidden_state
        logits: Tensor = self.head(pool(hidden, batch["attention_mask"], self.pooling))
        return logits


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector per text from (batch, tokens, width), of the tokens that are no padding: (batch, width)."""
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)
    positions = torch.arange(mask.shape[1]).expand_as(mask)
    if pooling == "last":
        chosen = positions.where(mask.bool(), -1).amax(1)
    else:
        chosen = positions.where(mask.bool(), mask.shape[1]).amin(1)
    return hidden[torch.arange(len(hidden)), chosen]


def load_base(folder: Path, labels: Sequence[str], *, max_tokens: int, seed: int) -> TextClassifier:
    """A base model with a new head for `labels`, whose weights the seed decides.

    Raises: BaseModelRefusedError if the folder lacks weights of the backbone, which would start as noise.
    """
    torch.manual_seed(seed)
    backbone = _load_backbone(folder)
    model = TextClassifier(backbone, pooling=_pooling_of(folder, backbone), labels=labels, max_tokens=max_tokens)
    layer = cast("nn.Linear", model.head[1])
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return model


def save_classifier(model: TextClassifier, tokenizer: Tokenizer, folder: Path) -> None:
    """Write backbone, head, tokenizer and description: everything that `load_classifier` needs."""
    cast("Any", model.backbone).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    description = {"labels": model.labels, "max_tokens": model.max_tokens, "pooling": model.pooling}
    write_json(folder / DESCRIPTION, cast("dict[str, Any]", description))


def load_classifier(folder: Path) -> TextClassifier:
    """An adapted model as `save_classifier` wrote it, in eval mode."""
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    model = TextClassifier(_load_backbone(folder), **description)
    model.head.load_state_dict(load_file(folder / HEAD))
    return model.eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's tokenizer, able to pad, on the right: on the left, padding would move a row's positions."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # Decoders are trained without padding; the mask hides whatever token stands there.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, max_tokens: int) -> list[Encoded]:
    """Token ids (and whatever else the model reads) of each text, cut to `max_tokens`, not padded."""
    if not texts:
        return []
    fields = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=False)
    rows = [{name: fields[name][row] for name in fields} for row in range(len(texts))]
    # A text without any token, which decoders make of "", is read as one padding token: a model needs something.
    nothing = {name: [0] for name in fields} | {"input_ids": [tokenizer.pad_token_id], "attention_mask": [1]}
    return [row if row["input_ids"] else nothing for row in rows]


def collate(tokenizer: Tokenizer, rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """Tensors of shape (batch, longest row), padded on the tokenizer's side, which is the right."""
    return dict(tokenizer.pad(list(rows), padding=True, return_tensors="pt"))


def _load_backbone(folder: Path) -> nn.Module:
    with _quiet_transformers():
        backbone, info = AutoModel.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # otherwise an error without the tensor's name
        )
    misshapen = {name for name, *_ in info["mismatched_keys"]}
    noise = sorted(str(name) for name in {*info["missing_keys"], *misshapen} if "pooler." not in str(name))
    if noise:
        raise BaseModelRefusedError(
            f"{folder.name}: the weights lack {len(noise)} tensors of {type(backbone).__name__}, or hold them in"
            f" another shape (first: {noise[0]}), which would start as noise; choose a complete checkpoint and run"
            " `graftline lock`"
        )
    return cast("nn.Module", backbone)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its bar for a load of milliseconds and its table of tensors, which are judged here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _pooling_of(folder: Path, backbone: nn.Module) -> Pooling:
    """How the checkpoint was trained to stand for a whole text; the mean where it does not say."""
    own, published = folder / DESCRIPTION, folder / "1_Pooling" / "config.json"
    if own.exists():
        return cast("Pooling", json.loads(own.read_text(encoding="utf-8"))["pooling"])
    if published.exists():
        said = json.loads(published.read_text(encoding="utf-8"))
        for flag, mode, pooling in PUBLISHED_POOLING:
            if said.get(flag) or said.get("pooling_mode") == mode:
                return pooling
    architectures = cast("Any", backbone).config.architectures or [""]
    # Only the last token of a model that reads from left to right has seen the whole text.
    return "last" if architectures[0].endswith(("CausalLM", "LMHeadModel")) else "mean"


def _width(backbone: nn.Module) -> int:
    return int(cast("Any", backbone).config.hidden_size)
