"""Continued pre-training: a backbone goes on learning the language of texts, without labels (arXiv 2004.10964)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from graftline.compute.device import gpu_faults_told, prepare
from graftline.errors import SettingsError
from graftline.frozen.freezing import FreezePoint
from graftline.models.encoded_rows import ChosenRows
from graftline.models.language_models import LoadedLanguageModel
from graftline.models.text_models import TextPreprocessor
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.loop import train
from graftline.training.masking import LanguageRows, TokenLoss
from graftline.training.plan import Plan, Training
from graftline.training.progress import DivergedError, Epoch, Listener, best_epoch
from graftline.training.validation_score import validate

# Of the texts, held back to choose the best epoch.
HELD_SHARE = 0.05
# Of fewer texts, not even one would be held back.
FEWEST_TEXTS = 20
# A head that begins with random weights has to learn in the same few steps to predict tokens.
NEW_HEAD_RATE = 1e-3


@dataclass(frozen=True)
class Pretrained:
    """How a continued pre-training went. The model itself was changed in place."""

    texts: int
    """That it learned from."""
    held: int
    """That chose the best epoch."""
    loss_before: float
    """The loss of a token of the held texts, before anything was learned."""
    epochs: tuple[Epoch, ...]

    @property
    def loss(self) -> float:
        """The same of the weights that were kept."""
        return best_epoch(self.epochs).validation_loss


@dataclass(frozen=True)
class Pretraining:
    """One continued pre-training of a language model on texts, each of which counts once."""

    loaded: LoadedLanguageModel
    preprocessor: TextPreprocessor
    texts: Sequence[str]
    settings: AdaptationSettings
    folder: Path
    """Where checkpoints go; who finds some there goes on from them."""
    listener: Listener = field(default_factory=Listener)

    def run(self) -> Pretrained:
        """Change the model in place, to the epoch after which it predicts the tokens of the held texts best.

        Raises: SettingsError if there are too few texts, or what this model or machine has not; DivergedError.
        """
        device = torch.device(self.settings.device)
        learned, held = self._sides()
        prepare(device)
        with gpu_faults_told():
            self.loaded.model.to(device)
            training = self._training(learned, held.in_epoch(0))
            before, _ = validate(training)
            try:
                epochs = train(training, self.folder)
            except DivergedError as error:
                raise DivergedError(
                    "the continued pre-training diverged: its loss or its gradient is no finite number; lower"
                    f" adaptation.pretraining_learning_rate, which is {self.settings.pretraining_learning_rate:g}"
                ) from error
        return Pretrained(len(learned.encoded), len(held.encoded), before, tuple(epochs))

    def _sides(self) -> tuple[LanguageRows, LanguageRows]:
        """The texts to learn from, and those that are held back."""
        texts = list(dict.fromkeys(self.texts))
        if len(texts) < FEWEST_TEXTS:
            raise SettingsError(
                f"adaptation.pretraining_epochs {self.settings.pretraining_epochs}: there are {len(texts)} different"
                f" texts to learn from, expected {FEWEST_TEXTS} or more; set it to 0"
            )
        order = np.random.default_rng(self.settings.seed).permutation(len(texts))
        count, encoded = round(HELD_SHARE * len(texts)), self.preprocessor.encode(texts)
        held, learned = (
            LanguageRows(
                self.preprocessor, ChosenRows(encoded, np.sort(rows)), self.loaded.modelling, self.settings.seed
            )
            for rows in (order[:count], order[count:])
        )
        return learned, held

    def _training(self, rows: LanguageRows, held: LanguageRows) -> Training:
        settings, model = self.settings, self.loaded.model
        rate = settings.pretraining_learning_rate
        usual = AdaptationSettings.model_fields
        plan = Plan(
            epochs=settings.pretraining_epochs,
            batch_size=settings.batch_size,
            learning_rate=rate,
            head_learning_rate=NEW_HEAD_RATE if self.loaded.new_head else rate,
            weight_decay=usual["weight_decay"].default,
            warmup_share=usual["warmup_share"].default,
            precision=settings.precision,
            patience=0,
            seed=settings.seed,
            accumulation=settings.gradient_accumulation,
            tied_embeddings=True,
        )
        everything = tuple(name for name, _ in model.named_parameters())
        return Training(
            model,
            FreezePoint(None, (), frozenset(), (), everything),
            rows,
            held,
            TokenLoss(),
            plan,
            self.listener,
        )
