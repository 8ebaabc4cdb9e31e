"""Backbones of timm from folders as timm and Hugging Face write them, whole or refused."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
from safetensors.torch import load_file, save_file
from torch import nn

from graftline.errors import BaseModelRefusedError
from graftline.files import write_json
from graftline.models.transformers_backbones import BUILDING_ERRORS, CONFIG, incomplete, read_config, reason_of

WEIGHTS = "model.safetensors"
# Parts of checkpoints beside the backbone and their classifier: the second classifier of Inception.
AUXILIARY = "AuxLogits"
# The arguments of timm itself, apart from the architecture's: with these a configuration could name other files.
LOADING = set(inspect.signature(timm.create_model).parameters) - {"kwargs"}
# Arguments that timm takes for itself when it builds the architecture: with these not its network would come out.
MAKING = {*inspect.signature(timm.models.build_model_with_cfg).parameters, "features_only", "pruned", "device", "dtype"}
# Where the weights came from is no longer true of them once they were adapted.
ORIGINS = {"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load"}


def load_timm(folder: Path, *, scratch: bool = False) -> nn.Module:
    """A backbone of timm without its classifier, whose output is the pooled vector; from `scratch` as timm begins it.

    Raises: BaseModelRefusedError if its architecture is unknown, or its weights are not exactly those of it.
    """
    config = read_config(folder)
    if not is_known(config["architecture"]):
        raise BaseModelRefusedError(
            f"{folder.name}: {CONFIG} names the architecture {config['architecture']!r}, which timm {timm.__version__}"
            " does not know; choose another base model"
        )
    backbone = build_timm(config, folder.name, classes=0)
    if not scratch:
        _load_exactly(backbone, folder, config.get("pretrained_cfg") or {})
    return backbone.float()


def is_known(architecture: object) -> bool:
    """Whether timm has an architecture of this name."""
    return isinstance(architecture, str) and bool(timm.is_model(architecture))


def build_timm(config: Mapping[str, Any], where: str, *, classes: int) -> nn.Module:
    """The network of a configuration, with random weights and a classifier for so many `classes`; 0: with none.

    Nothing is fetched and no file is opened, whatever the configuration says.
    Raises: BaseModelRefusedError, beginning with `where`, if it says something that timm cannot build, or would load.
    """
    described, arguments = config.get("pretrained_cfg") or {}, model_arguments(config, where)
    if not isinstance(described, Mapping):
        raise _no_object(where, "pretrained_cfg", described)
    try:
        network: nn.Module = timm.create_model(
            config["architecture"], num_classes=classes, pretrained_cfg=described, **arguments
        )
    except BUILDING_ERRORS as error:
        raise BaseModelRefusedError(
            f"{where}: timm {timm.__version__} cannot build {config['architecture']!r} as {CONFIG} describes it"
            f" ({reason_of(error)}), expected arguments of the architecture in model_args; choose another base model,"
            " or correct its configuration"
        ) from None
    return network


def model_arguments(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments of the architecture that a configuration holds, without the number of classes, which timm repeats.

    Raises: BaseModelRefusedError, beginning with `where`, if one of them is not for the architecture: timm would load
    weights from elsewhere, or make something else.
    """
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise _no_object(where, "model_args", arguments)
    if foreign := sorted((LOADING | MAKING) & arguments.keys()):
        why = "decides where weights come from" if foreign[0] in LOADING else "is for timm itself"
        raise BaseModelRefusedError(
            f"{where}: model_args in {CONFIG} holds {foreign[0]!r}, which {why},"
            " expected arguments of the architecture; choose another base model, or remove it and lock or convert again"
        )
    return {name: value for name, value in arguments.items() if name != "num_classes"}


def save_timm(backbone: nn.Module, folder: Path) -> None:
    """Write configuration and weights as `load_timm` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    described, arguments = cast("Any", backbone).pretrained_cfg, cast("Any", backbone)._model_args
    config = {
        "architecture": described["architecture"],
        "num_classes": 0,
        "model_args": {name: value for name, value in arguments.items() if name != "num_classes"},
        "pretrained_cfg": {name: value for name, value in described.items() if name not in ORIGINS},
    }
    write_json(folder / CONFIG, config)
    save_file({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}, folder / WEIGHTS)


def _no_object(where: str, name: str, got: object) -> BaseModelRefusedError:
    return BaseModelRefusedError(
        f"{where}: {name} in {CONFIG} is of the type {type(got).__name__}, expected names and their values; choose"
        " another base model, or correct its configuration"
    )


def _load_exactly(backbone: nn.Module, folder: Path, described: Mapping[str, Any]) -> None:
    weights = load_file(folder / WEIGHTS)
    expected = backbone.state_dict()
    noise = [name for name in expected if name not in weights or weights[name].shape != expected[name].shape]
    # An old BatchNorm has no counter, and none is read.
    noise = [name for name in noise if not name.endswith("num_batches_tracked")]
    if noise:
        raise incomplete(folder, type(backbone).__name__, noise)
    classifier = described.get("classifier") or ()
    left = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = [
        name
        for name in sorted(weights.keys() - expected.keys())
        if not name.startswith(tuple(f"{prefix}." for prefix in (*left, AUXILIARY)))
    ]
    if unused:
        raise BaseModelRefusedError(
            f"{folder.name}: the weights hold {len(unused)} tensors that {type(backbone).__name__} has no place for"
            f" (first: {unused[0]}), so they are of another model than {CONFIG} says; choose a checkpoint whose two"
            " files belong together"
        )
    backbone.load_state_dict({name: weights[name] for name in expected if name in weights}, strict=False)
