"""Texts of which a language model predicts tokens: those that are hidden from it, or all that come next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.models.encoded_rows import Tokens, lengths_of
from graftline.models.language_models import NOT_PREDICTED, Modelling
from graftline.models.text_models import TextPreprocessor, Tokenizer

Ids = np.ndarray[tuple[int], np.dtype[np.int32]]

# BERT's (arXiv 1810.04805, 3.1): so much of the tokens is predicted; of these so much is hidden, and so much is another
# token by chance.
PREDICTED_SHARE, HIDDEN_SHARE, REPLACED_SHARE = 0.15, 0.8, 0.1


@dataclass(frozen=True)
class LanguageRows:
    """Texts, and from `in_epoch` on which of their tokens are predicted."""

    preprocessor: TextPreprocessor
    encoded: Sequence[Tokens]
    modelling: Modelling
    seed: int
    read: Sequence[Tokens] = field(default=(), repr=False)
    """What the model reads of them."""
    labels: Sequence[Ids] = field(default=(), repr=False)
    """Of each text the tokens that are predicted, where they are, and `NOT_PREDICTED` elsewhere."""

    @property
    def lengths(self) -> Sequence[int]:
        return lengths_of(self.encoded, self.preprocessor)

    @property
    def targets(self) -> Tensor:
        """Zeros: what is predicted lies in the texts."""
        return torch.zeros(len(self.encoded))

    @property
    def weights(self) -> Tensor | None:
        """None: each token counts as much as any other."""
        return None

    def in_epoch(self, epoch: int) -> "LanguageRows":
        """The rows as this epoch sees them: other tokens are hidden in each (RoBERTa, arXiv 1907.11692, 4.1).

        Raises: SettingsError if the tokenizer has no token that hides others.
        """
        if self.modelling == "causal":
            return replace(self, read=self.encoded, labels=[_next_of(row["input_ids"]) for row in self.encoded])
        ids = np.concatenate([row["input_ids"] for row in self.encoded])
        random = np.random.default_rng([self.seed, epoch])
        read, labels = (np.split(all_of, np.cumsum(self.lengths)[:-1]) for all_of in self._masked(ids, random))
        rows = [{**row, "input_ids": ids} for row, ids in zip(self.encoded, read, strict=True)]
        return replace(self, read=rows, labels=labels)

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        """Of each row the sum of the losses of its tokens that are predicted, and their number: (rows, 2)."""
        batch = self.preprocessor.collate([self.read[row] for row in rows])
        labels = torch.full(batch["input_ids"].shape, NOT_PREDICTED)
        for place, row in enumerate(rows):
            labels[place, : len(self.labels[row])] = torch.from_numpy(self.labels[row])
        losses: Tensor = model(labels=labels, **batch)
        return losses

    def _masked(self, ids: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        """The tokens with some hidden or replaced, and those that are predicted, as transformers' collator has them."""
        tokenizer = self.preprocessor.tokenizer
        chosen, fate = random.random(len(ids)), random.random(len(ids))
        predicted = (chosen < PREDICTED_SHARE) & ~np.isin(ids, tokenizer.all_special_ids)
        hidden, others = fate < HIDDEN_SHARE, random.integers(len(tokenizer), size=len(ids), dtype=np.int32)
        replaced = ~hidden & (fate < HIDDEN_SHARE + REPLACED_SHARE)
        read = np.where(predicted & hidden, np.int32(_hiding(tokenizer)), np.where(predicted & replaced, others, ids))
        return read, np.where(predicted, ids, np.int32(NOT_PREDICTED))


@dataclass(frozen=True)
class TokenLoss:
    """The mean loss of all tokens that are predicted, from (rows, 2): of each row their sum and their number."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: ARG002 - of an objective
        # By chance no token of few short texts is predicted.
        return outputs[:, 0].sum() / outputs[:, 1].sum().clamp(min=1)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs.double(), targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return -float(self.validation_loss(outputs, targets))


def _next_of(ids: Ids) -> Ids:
    """At each token the one behind it; at the last none."""
    return np.append(ids[1:], np.int32(NOT_PREDICTED))


def _hiding(tokenizer: Tokenizer) -> int:
    if tokenizer.mask_token_id is None:
        raise SettingsError(
            "adaptation.pretraining_epochs: the base model's tokenizer has no token that hides others ([MASK] in"
            " BERT's), so its language model cannot go on learning; set it to 0 or choose another base model"
        )
    return int(tokenizer.mask_token_id)
