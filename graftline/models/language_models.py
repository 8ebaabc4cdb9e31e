"""Language models of texts: a backbone with a head that predicts hidden tokens, or the next ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from graftline.compute.device import batch_on, device_of
from graftline.errors import SettingsError
from graftline.models.transformers_backbones import incomplete, loaded_as, refused, transformers_config

# What is predicted: tokens that were hidden, from all around them, or each token from those before it.
Modelling = Literal["masked", "causal"]
# The label of a place where no token is predicted, as transformers has it.
NOT_PREDICTED = -100


class LanguageModel(nn.Module):
    """A backbone and the head with which it predicts tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone: nn.Module = cast("Any", network).base_model
        # The whole network. Its backbone goes by the name above, which comes first, so what is named `head.` is the
        # rest of it; an output layer that is the table of embeddings, as BERT's, belongs to the backbone.
        self.head = network

    def forward(self, labels: Tensor, **batch: Tensor) -> Tensor:
        """Of each row the sum of the losses of the tokens that are predicted, and their number: (rows, 2).

        `labels`, of shape (rows, tokens), has each of them where it is predicted, and `NOT_PREDICTED` elsewhere.
        """
        device = device_of(self.backbone)
        labels = labels.to(device)
        predicted = labels != NOT_PREDICTED

        def only_there(_module: nn.Module, _inputs: object, output: Any) -> Any:
            # A head looks at each place by itself, and the vocabulary makes it as dear as the backbone.
            output.last_hidden_state = output.last_hidden_state[predicted].unsqueeze(0)
            return output

        with self.backbone.register_forward_hook(only_there):
            logits = self.head(**batch_on(batch, device)).logits[0]
        losses = functional.cross_entropy(logits.float(), labels[predicted], reduction="none")
        sums = losses.new_zeros(len(labels)).index_add(0, predicted.nonzero()[:, 0], losses)
        return torch.stack([sums, predicted.sum(1).to(sums.dtype)], 1)


@dataclass(frozen=True)
class LoadedLanguageModel:
    """A language model from a folder."""

    model: LanguageModel
    modelling: Modelling
    new_head: bool
    """Whether the folder held none, so that it begins with random weights."""


def load_language_model(folder: Path, *, seed: int) -> LoadedLanguageModel:
    """The model in `folder` as the language model that its architecture is made for; the seed decides on a new head.

    Raises: BaseModelRefusedError if the folder lacks weights of the backbone; SettingsError if transformers has no
    language model of this architecture that reads a text in one piece.
    """
    with refused(folder):
        config = transformers_config(folder)
    modelling: Modelling = "masked" if type(config) in MODEL_FOR_MASKED_LM_MAPPING else "causal"
    if config.is_encoder_decoder or (modelling == "causal" and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING):
        raise SettingsError(
            f"adaptation.pretraining_epochs: {folder.name} is of the architecture {config.model_type}, of which"
            " transformers has no language model that reads a text in one piece, as those of BERT's and of GPT's kind;"
            " set it to 0 or choose such a base model"
        )
    torch.manual_seed(seed)
    auto = AutoModelForMaskedLM if modelling == "masked" else AutoModelForCausalLM
    network, noise = loaded_as(auto, folder)
    model = LanguageModel(network)
    of_backbone = [name for name in noise if name.startswith(f"{cast('Any', network).base_model_prefix}.")]
    if of_backbone:
        raise incomplete(folder, type(network).__name__, of_backbone)
    return LoadedLanguageModel(model, modelling, bool(noise))
