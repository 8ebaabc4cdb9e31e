"""Backbones of transformers from their folders, whole or refused."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled, StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING
from transformers.utils import logging

from graftline.errors import BaseModelRefusedError
from graftline.wording import ERROR_CHARACTERS, shortened

CONFIG = "config.json"
# The errors of building a network where a configuration has another type, or a value that nothing can be built of.
BUILDING_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    OSError,
    ImportError,
    StrictDataclassError,
)


def load_transformers(folder: Path, *, scratch: bool = False) -> nn.Module:
    """A backbone of transformers, in float32; from `scratch` with its architecture's own random weights.

    Raises: BaseModelRefusedError if the folder lacks weights of the backbone, which would start as noise, or describes
    none that transformers can build from this folder alone.
    """
    with refused(folder):
        config = transformers_config(folder)
        # Of T5 and its kind the encoder alone reads a text.
        is_half = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
        auto = AutoModelForTextEncoding if is_half else AutoModel
        if scratch:
            return cast("nn.Module", auto.from_config(config, trust_remote_code=False, dtype=torch.float32))
    backbone, noise = loaded_as(auto, folder)
    if noise:
        raise incomplete(folder, type(backbone).__name__, noise)
    return backbone


def loaded_as(auto: Any, folder: Path) -> tuple[nn.Module, list[str]]:
    """The network that one of transformers' auto classes makes, in float32, and its tensors that the folder lacks.

    Raises: BaseModelRefusedError if it can build none from this folder alone.
    """
    with refused(folder):
        network, info = auto.from_pretrained(
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
    return cast("nn.Module", network), noise


@contextmanager
def refused(folder: Path) -> Iterator[None]:
    """Raises: BaseModelRefusedError where transformers cannot build what a folder describes."""
    try:
        with quiet_transformers(), offline():
            yield
    except OfflineModeIsEnabled:
        raise BaseModelRefusedError(
            f"{folder.name}: {CONFIG} names another model on the Hugging Face Hub, expected one that is whole; choose"
            " another base model"
        ) from None
    except BUILDING_ERRORS as error:
        raise BaseModelRefusedError(
            f"{folder.name}: transformers cannot load it ({reason_of(error)}), expected a checkpoint as it writes them;"
            " choose another base model"
        ) from None


def save_transformers(backbone: nn.Module, folder: Path) -> None:
    """Write configuration and weights as `load_transformers` reads them."""
    weights = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    cast("Any", backbone).save_pretrained(folder, state_dict=weights, safe_serialization=True)


def is_timm(folder: Path) -> bool:
    """Whether the folder holds a model of timm."""
    return not is_of_transformers(read_config(folder))


def is_of_transformers(config: Mapping[str, Any]) -> bool:
    """Whether it is the configuration of a model of transformers: only timm's name one architecture."""
    return "architecture" not in config


def transformers_config(folder: Path) -> Any:
    """The model's configuration as an object of transformers."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def build_transformers(config: Any) -> nn.Module:
    """The network of a configuration, with random weights."""
    return cast("nn.Module", AutoModel.from_config(config, trust_remote_code=False))


def read_config(folder: Path) -> dict[str, Any]:
    """The model's configuration. Raises: BaseModelRefusedError if there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise BaseModelRefusedError(
            f"{folder.name}: holds no {CONFIG}, expected that of a model of transformers or timm; choose another folder"
        )
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def incomplete(folder: Path, model: str, noise: list[str]) -> BaseModelRefusedError:
    """The refusal of weights that lack the tensors `noise`."""
    return BaseModelRefusedError(
        f"{folder.name}: the weights lack {len(noise)} tensors of {model}, or hold them in another shape"
        f" (first: {noise[0]}), which would start as noise; choose a complete checkpoint and run `graftline lock`"
    )


def reason_of(error: Exception) -> str:
    """The error on one line."""
    return shortened(f"{type(error).__name__}: {' '.join(str(error).split())}", ERROR_CHARACTERS)


@contextmanager
def offline() -> Iterator[None]:
    """Without the Hugging Face Hub, where transformers looks for the parts of a model that are named only."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def quiet_transformers() -> Iterator[None]:
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
