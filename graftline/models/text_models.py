"""Texts as tensors, and one vector per text from what a backbone says of its tokens."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from torch import Tensor, nn
from transformers import AutoTokenizer

from graftline.compute.device import FORWARD_ERRORS, Batch
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.models.batching import sorted_batches
from graftline.models.encoded_rows import TokenRows, Tokens
from graftline.models.family import Family
from graftline.models.pooling import Pooling, pool
from graftline.models.preprocessing import Reading, row_key
from graftline.models.transformers_backbones import (
    BUILDING_ERRORS,
    is_of_transformers,
    is_timm,
    load_transformers,
    offline,
    quiet_transformers,
    save_transformers,
    transformers_config,
)
from graftline.models.views import View

Tokenizer = Any  # transformers' tokenizers carry no usable annotations

# Tokens that are run through the frozen part at a time: enough to fill the processor, little enough for its caches.
CAPTURE_TOKENS = 512
# So many leading bits say to what length a text is padded there: to one of 4 lengths between two powers of 2.
# One more would halve the padding and double the batches that are filled up: better only for very many texts.
LENGTH_BITS = 3
# No row that a model learned from can be longer (`data.max_characters`); it would keep a server busy for seconds.
MAX_CHARACTERS = 1_000_000
# Texts that are predicted at a time, for the same reason.
BATCH_ROWS = 64
# Texts that the tokenizer is given at a time: what it makes of a text takes ten times the room that its tokens need.
ENCODED_TEXTS = 1024
# No vocabulary of words, and hardly one of characters, has all of this.
RARE_TEXT = "\ua66e \U0001f7f0 qzx9"
# These run a pooler that is not there.
CALLS_NO_POOLER = ("SqueezeBertModel",)
# What stands at a token is the same to this share of the largest number, in a model that reads from left to right.
SAME_SHARE = 1e-4
# Their names in sentence-transformers: until its version 5 a flag for each, since then one mode.
PUBLISHED_POOLING: tuple[tuple[str, str, Pooling], ...] = (
    ("pooling_mode_cls_token", "cls", "first"),
    ("pooling_mode_lasttoken", "lasttoken", "last"),
    ("pooling_mode_mean_tokens", "mean", "mean"),
)


@dataclass(frozen=True)
class TextPreprocessor:
    """The checkpoint's tokenizer."""

    tokenizer: Tokenizer
    reading: Reading
    batch_length = CAPTURE_TOKENS
    mixes_lengths = True

    def encode(self, raws: Iterable[str]) -> Sequence[Tokens]:
        """Token ids (and whatever else the model reads) of each text, cut to `max_tokens`, not padded.

        The texts are read some at a time, and of many the tokens need not lie in memory.
        Raises: ValueError naming the first that is no text, or one that no row can be.
        """
        parts = self._parts(raws)
        first, more = next(parts, []), next(parts, None)
        return first if more is None else TokenRows(chain([first, more], parts))

    def _parts(self, raws: Iterable[str]) -> Iterator[list[Tokens]]:
        texts, start = iter(raws), 0
        while some := list(islice(texts, ENCODED_TEXTS)):
            for place, text in enumerate(some, start):
                _require_text(place, text)
            yield self._encoded(some)
            start += len(some)

    def _encoded(self, raws: Sequence[str]) -> list[Tokens]:
        fields = self.tokenizer(raws, truncation=True, max_length=self.reading.max_tokens, padding=False)
        # A text without any token, which decoders make of "", is read as one padding token: a model needs something.
        nothing = {name: [0] for name in fields} | {"input_ids": [self.tokenizer.pad_token_id], "attention_mask": [1]}
        rows = [{name: fields[name][row] or nothing[name] for name in fields} for row in range(len(raws))]
        return [{name: np.array(values, np.int32) for name, values in row.items()} for row in rows]

    def length(self, row: Tokens) -> int:
        """Tokens."""
        return len(row["input_ids"])

    def padded(self, row: Tokens) -> Tokens:
        """The tokens up to the next of few lengths: a multiple of a power of 2, at most a quarter more, 7 % on average.

        Few rows have exactly the same length, and batches of one or two rows cost far more than a little padding.
        """
        length = self.length(row)
        step = max(1, 2 ** (length.bit_length() - LENGTH_BITS))
        return self._filled(row, min(-length % step, max(0, self.reading.max_tokens - length)))

    def key(self, row: Tokens) -> str:
        """A digest of the tokens."""
        return row_key(f"{CAPTURE_TOKENS} {LENGTH_BITS}", [_spelt(row)])

    def carried(self, row: Tokens) -> Tokens:
        """As it is: a text has no file."""
        return row

    def in_view(self, row: Tokens, view: View) -> Tokens:  # noqa: ARG002 - of no text
        """Raises: SettingsError."""
        raise SettingsError(
            f"adaptation.augmentation {view.augmentation}: texts have no random views, images and sounds have; set it"
            " to none where data.kind is text"
        )

    def collate(self, rows: Sequence[Tokens]) -> dict[str, Tensor]:
        """Tensors of shape (batch, longest row), padded on the right."""
        longest = max(map(self.length, rows))
        # The tokenizer's own `pad` takes milliseconds for this, in every step.
        padded = [self._filled(row, longest - self.length(row)) for row in rows]
        return {name: torch.from_numpy(np.stack([row[name] for row in padded])).long() for name in padded[0]}

    def blank(self, rows: Sequence[Tokens]) -> None:
        """None: tokens are at hand."""

    def batches(self, lengths: Sequence[int]) -> Sequence[list[int]]:
        """Texts of similar length beside each other."""
        return sorted_batches(lengths, BATCH_ROWS)

    def _filled(self, row: Tokens, missing: int) -> Tokens:
        """The tokens and so many that stand for nothing."""
        if not missing:
            return row
        filling = {"input_ids": self.tokenizer.pad_token_id, "token_type_ids": self.tokenizer.pad_token_type_id}
        return {
            name: np.concatenate([values, np.full(missing, filling.get(name, 0), np.int32)])
            for name, values in row.items()
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.tokenizer.save_pretrained(folder)


def _require_text(place: int, text: object) -> None:
    """Raises: ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"input {place} is {text!r}, expected a text; leave it out or give a text")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"input {place} has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}; shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"input {place} has half of a character ({text[error.start]!r}) at place {error.start}, expected valid"
            " Unicode; leave it out or mend it"
        ) from None


def _spelt(row: Tokens) -> str:
    return json.dumps({name: values.tolist() for name, values in row.items()}, sort_keys=True)


def load_text_preprocessor(folder: Path, reading: Reading) -> TextPreprocessor:
    """The checkpoint's tokenizer, able to pad, on the right: on the left, padding would move a row's positions.

    Raises: BaseModelRefusedError if there is none.
    """
    try:
        tokenizer = _load_tokenizer(folder)
    except BUILDING_ERRORS:
        raise BaseModelRefusedError(
            f"{folder.name}: holds no tokenizer that transformers can load, expected the files that the publisher of a"
            " text model wrote beside its weights; choose a base model of that kind"
        ) from None
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # Decoders are trained without padding; the mask hides whatever token stands there.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    _require_unknown_token(tokenizer, folder.name)
    return TextPreprocessor(tokenizer, reading)


def _require_unknown_token(tokenizer: Tokenizer, where: str) -> None:
    """Raises: BaseModelRefusedError if a word that the vocabulary lacks is an error, at whichever row has one."""
    try:
        tokenizer(RARE_TEXT)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises nothing more exact
        raise BaseModelRefusedError(
            f"{where}: its tokenizer cannot read a word that it does not know ({error}), expected a token for unknown"
            " ones in its vocabulary; add it to tokenizer.json (model.unk_token) and to the embedding, or choose"
            " another base model"
        ) from None


def _load_tokenizer(folder: Path) -> Tokenizer:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def described_vocabulary(folder: Path) -> tuple[Tokenizer, int] | None:
    """The tokenizer, and how many tokens its model's configuration says that it knows; None where one is not said."""
    try:
        with quiet_transformers(), offline():
            config = None if is_timm(folder) else transformers_config(folder)
            embedded = getattr(config, "vocab_size", None)
            return (_load_tokenizer(folder), embedded) if isinstance(embedded, int) else None
    except (*BUILDING_ERRORS, OfflineModeIsEnabled):
        return None


def _load_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    """The backbone without its own pooler, which checkpoints often lack or never trained."""
    backbone = load_transformers(folder, scratch=scratch)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = _NoPooler() if type(backbone).__name__ in CALLS_NO_POOLER else cast("nn.Module", None)
    return backbone


class _NoPooler(nn.Module):
    def forward(self, hidden: Tensor) -> None:
        """Nothing is pooled."""


def require_known_tokens(tokenizer: Tokenizer, embedded: int, where: str) -> None:
    """Raises: BaseModelRefusedError if the tokenizer gives ids that a model with so many `embedded` tokens lacks."""
    token, largest = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1], default=("", -1))
    if largest >= embedded:
        raise BaseModelRefusedError(
            f"{where}: its tokenizer has {largest + 1:,} tokens, the last {token!a}, its embedding {embedded:,} rows,"
            " expected one for each: no text with such a token could be read; choose a checkpoint whose embedding"
            " was enlarged with its tokenizer (transformers: resize_token_embeddings), and run `graftline lock`"
        )


def _check_reading(backbone: nn.Module, folder: Path, reading: Reading) -> None:
    """Try the longest text that the settings allow, and that there is room for every token.

    Raises: BaseModelRefusedError if the model cannot read tokens; SettingsError if it cannot read so many.
    """
    _hidden(backbone, folder, 2)
    embedded = cast("Any", backbone).get_input_embeddings().num_embeddings
    require_known_tokens(load_text_preprocessor(folder, reading).tokenizer, embedded, folder.name)
    try:
        _hidden(backbone, folder, reading.max_tokens)
    except BaseModelRefusedError:
        positions = getattr(cast("Any", backbone).config, "max_position_embeddings", None)
        known = f", whose configuration has max_position_embeddings {positions}" if positions else ""
        raise SettingsError(
            f"adaptation.max_tokens {reading.max_tokens}: the base model cannot read so many{known}; lower it"
        ) from None


def _hidden(backbone: nn.Module, folder: Path, tokens: int) -> Tensor:
    """The hidden states, in eval mode, of two texts that differ in their last token: (2, tokens, width)."""
    was_training = backbone.training
    try:
        last = cast("Any", backbone).get_input_embeddings().num_embeddings - 1
        ids = torch.full((2, tokens), last)
        ids[:, -1] = torch.tensor([max(0, last - 1), max(0, last - 2)])
        with torch.no_grad():
            said: Tensor = backbone.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    except FORWARD_ERRORS as error:
        raise BaseModelRefusedError(
            f"{folder.name}: {type(backbone).__name__} gives no hidden states for token ids and their mask"
            f" ({type(error).__name__}: {error}), as encoders and decoders do; choose one of these"
        ) from None
    finally:
        backbone.train(was_training)
    return said


def _vectors(backbone: nn.Module, batch: Batch, pooling: Pooling) -> Tensor:
    """One vector per text: (batch, width)."""
    return pool(backbone(**batch).last_hidden_state, batch["attention_mask"], pooling)


def _published_pooling(folder: Path, backbone: nn.Module) -> Pooling:
    """How the checkpoint was trained to stand for a whole text; the mean where it does not say."""
    published = folder / "1_Pooling" / "config.json"
    if published.exists():
        said = json.loads(published.read_text(encoding="utf-8"))
        for flag, mode, pooling in PUBLISHED_POOLING:
            if said.get(flag) or said.get("pooling_mode") == mode:
                return pooling
    # Only the last token of a model that reads from left to right has seen the whole text.
    first, other = _hidden(backbone, folder, 2)[:, 0]
    return "last" if float((first - other).abs().max()) <= SAME_SHARE * float(first.abs().max()) else "mean"


TEXT = Family(
    recognises=is_of_transformers,
    load=_load_backbone,
    save=save_transformers,
    preprocessor=load_text_preprocessor,
    vectors=_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.hidden_size),
    pooling=_published_pooling,
    check=_check_reading,
)
