"""Tiny base models as real folders: configuration, random safetensors and a real tokenizer, a few kilobytes each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from graftline.frozen.rows import InputRows
from graftline.models.classifier import Classifier
from graftline.models.family import HeadKind
from graftline.models.folders import load_base
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.models.text_models import TextPreprocessor, load_text_preprocessor

Architecture = Literal["bert", "roberta", "distilbert", "gpt2", "deberta-v2"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

BLOCKS, WIDTH = 3, 16
READING = Reading("text", max_tokens=32)
GOOD = ("good", "great", "fine", "lovely", "bright", "warm")
BAD = ("bad", "awful", "poor", "dull", "grim", "cold")
FILLERS = ("the", "a", "film", "plot", "actor", "scene", "was", "and", "very", "with", "some", "other", "quite", "one")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Each family's own names for the same few numbers.
_SIZES: dict[Architecture, dict[str, Any]] = {
    "bert": {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 24},
    "roberta": {
        "hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 24,
        "type_vocab_size": 1, "pad_token_id": 0,
    },
    "distilbert": {"dim": WIDTH, "n_layers": BLOCKS, "n_heads": 2, "hidden_dim": 24},
    "gpt2": {"n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
    "deberta-v2": {
        "hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 24,
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3,
    },
}  # fmt: skip
# What freezing up to the second block must freeze beside the blocks in front of it.
EMBEDDINGS: dict[Architecture, tuple[str, ...]] = {
    "bert": ("backbone.embeddings.",),
    "roberta": ("backbone.embeddings.",),
    "distilbert": ("backbone.embeddings.",),
    "gpt2": ("backbone.wte.", "backbone.wpe."),
    "deberta-v2": (
        "backbone.embeddings.",
        "backbone.encoder.rel_embeddings.",
        "backbone.encoder.LayerNorm.",
        "backbone.encoder.conv.",
    ),
}
BLOCK_LIST: dict[Architecture, str] = {
    "bert": "backbone.encoder.layer",
    "roberta": "backbone.encoder.layer",
    "distilbert": "backbone.transformer.layer",
    "gpt2": "backbone.h",
    "deberta-v2": "backbone.encoder.layer",
}


def write_tiny_model(folder: Path, architecture: Architecture = "bert", **config: Any) -> Path:
    """A base model whose weights are the same at every call; `config` overrides what it is built from."""
    torch.manual_seed(7)
    chosen = {"vocab_size": len(_words()), "max_position_embeddings": 64, **_SIZES[architecture], **config}
    model = AutoModel.from_config(AutoConfig.for_model(architecture, **chosen))
    # The usual spread of 0.02 leaves every row of so small a model nearly alike.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tiny_tokenizer(special=architecture != "gpt2").save_pretrained(folder)
    return folder


def tiny_classifier(folder: Path, *, seed: int = 0, head: HeadKind = "linear") -> Classifier:
    return load_base(folder, Outputs("single_label", ("bad", "good")), reading=READING, seed=seed, head=head)


def tiny_preprocessor(folder: Path) -> TextPreprocessor:
    return load_text_preprocessor(folder, READING)


def tiny_rows(folder: Path, rows: int, *, seed: int = 0) -> InputRows:
    preprocessor = tiny_preprocessor(folder)
    texts, labels = tiny_texts(rows, seed=seed)
    return InputRows(preprocessor, preprocessor.encode(texts), torch.tensor(labels))


def tiny_tokenizer(*, special: bool = True) -> Any:
    """Words to ids; with [CLS] and [SEP] around a text and a padding token, or, as GPT-2 has it, with neither."""
    words = _words()
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if not special:
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def tiny_texts(rows: int, *, seed: int = 0) -> tuple[list[str], list[int]]:
    """Texts of 2 to 12 words with a good word in the odd rows and a bad one in the even rows, and those labels."""
    random = torch.Generator().manual_seed(seed)

    def draw(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (1,), generator=random))]

    texts, labels = [], []
    for row in range(rows):
        label = row % 2
        fillers = [draw(FILLERS) for _ in range(1 + int(torch.randint(11, (1,), generator=random)))]
        place = int(torch.randint(len(fillers) + 1, (1,), generator=random))
        texts.append(" ".join([*fillers[:place], draw(GOOD if label else BAD), *fillers[place:]]))
        labels.append(label)
    return texts, labels


def _words() -> list[str]:
    return [*SPECIAL, *GOOD, *BAD, *FILLERS]
