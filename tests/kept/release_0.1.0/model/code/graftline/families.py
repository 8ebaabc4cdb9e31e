"""Models of every kind as folders: which family one is of, a base model with a new head, an adapted model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graftline.backbones import is_timm, read_config
from graftline.classifier import Classifier
from graftline.errors import BaseModelRefusedError
from graftline.family import Family, HeadKind
from graftline.files import write_json
from graftline.freezing import has_lora
from graftline.outputs import Outputs
from graftline.preprocessing import Preprocessor, Reading

# Beside the backbone's own files: what the libraries of models do not know of.
DESCRIPTION, HEAD = "graftline.json", "head.safetensors"


def load_base(
    folder: Path,
    outputs: Outputs,
    *,
    reading: Reading,
    seed: int,
    head: HeadKind = "linear",
    block_pattern: str | None = None,
    scratch: bool = False,
) -> Classifier:
    """A base model with a new head for `outputs`, whose weights the seed decides; from `scratch` those of all of it.

    Raises: BaseModelRefusedError if the folder lacks weights of the backbone, which would start as noise, or holds a
    model of another kind; SettingsError if the model cannot read as much as `reading` says.
    """
    torch.manual_seed(seed)
    family = _family_of(folder, reading)
    backbone = family.load(folder, scratch=scratch)
    family.check(backbone, folder, reading)
    # A model that was adapted before goes on with the pooling and the adapters that it was adapted with.
    before = _description(folder) if (folder / DESCRIPTION).exists() else {}
    pooling = before.get("pooling") or family.pooling(folder, backbone)
    model = Classifier(
        backbone, family, pooling=pooling, outputs=outputs, head=head, block_pattern=block_pattern
    )  # fmt: skip
    nn.init.normal_(model.output_layer.weight, std=0.02)
    nn.init.zeros_(model.output_layer.bias)
    if before.get("lora") and not scratch:
        from graftline.lora import Adapters, merge_lora, put_in_lora

        put_in_lora(model, Adapters(**before["lora"]), folder)
        merge_lora(model)  # what was adapted is the base of what comes now
    return model


def save_classifier(model: Classifier, preprocessor: Preprocessor, folder: Path) -> None:
    """Write backbone, head, preprocessor and description: everything that `load_classifier` needs.

    Adapters that were not merged are taken out of the model and written beside the backbone.
    """
    adapters = None
    if has_lora(model):
        from graftline.lora import take_out_lora

        adapters = take_out_lora(model, folder)
    model.family.save(model.backbone, folder)
    preprocessor.save(folder)
    save_file({name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    description = {
        "outputs": asdict(model.outputs),
        "pooling": model.pooling,
        "head": model.head_kind,
        "reading": asdict(preprocessor.reading),
        "lora": asdict(adapters) if adapters else None,
    }
    write_json(folder / DESCRIPTION, cast("dict[str, Any]", description))


def load_classifier(folder: Path) -> Classifier:
    """An adapted model as `save_classifier` wrote it, in eval mode."""
    description = _description(folder)
    family = _family_of(folder, Reading(**description["reading"]))
    model = Classifier(
        family.load(folder),
        family,
        pooling=description["pooling"],
        outputs=_outputs(description["outputs"]),
        head=description["head"],
    )
    if description["lora"]:
        from graftline.lora import Adapters, put_in_lora

        put_in_lora(model, Adapters(**description["lora"]), folder)
    model.head.load_state_dict(load_file(folder / HEAD))
    return model.eval()


def load_preprocessor(folder: Path, reading: Reading | None = None) -> Preprocessor:
    """The preprocessor of the model in `folder`; without `reading`, as the adapted model there reads."""
    reading = reading or Reading(**_description(folder)["reading"])
    return _family_of(folder, reading).preprocessor(folder, reading)


def _family_of(folder: Path, reading: Reading) -> Family:
    # Imported where they are used: a registered text model shall not need the libraries of images and sounds.
    if reading.kind == "image":
        from graftline.image_models import TIMM, TRANSFORMERS_IMAGES

        return TIMM if is_timm(folder) else TRANSFORMERS_IMAGES
    if is_timm(folder):
        raise BaseModelRefusedError(
            f"{folder.name}: is {read_config(folder)['architecture']} of timm, a model of images, but data.kind is"
            f" {reading.kind}; choose a base model of that kind"
        )
    if reading.kind == "text":
        from graftline.text import TEXT

        return TEXT
    from graftline.sound_models import SPEECH, WHISPER

    return WHISPER if read_config(folder).get("model_type") == "whisper" else SPEECH


def _outputs(written: dict[str, Any]) -> Outputs:
    return Outputs(**written | {"labels": tuple(written["labels"])})


def _description(folder: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
