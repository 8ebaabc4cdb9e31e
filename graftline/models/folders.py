"""Models of every kind as folders: which family one is of, a base model with a new head, an adapted model."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graftline.digests import tensors_sha256
from graftline.errors import BaseModelRefusedError
from graftline.files import write_json
from graftline.models.classifier import Classifier
from graftline.models.family import Family, HeadKind
from graftline.models.outputs import Outputs, outputs_of
from graftline.models.parts import has_lora
from graftline.models.preprocessing import Preprocessor, Reading
from graftline.models.transformers_backbones import read_config
from graftline.settings import Kind

# Beside the backbone's own files: what the libraries of models do not know of.
DESCRIPTION, HEAD = "graftline.json", "head.safetensors"
# A backbone's weights, in one file or several with an index, as transformers and timm name them.
WEIGHTS = "model*.safetensors*"
# A published file may hold more than the backbone, as its pooler or classifier. What is larger by more than this, as
# Whisper's with its decoder, would cost more at every place where the model is served than it saves here.
LARGER = 1.1


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
    model = Classifier(backbone, family, pooling=pooling, outputs=outputs, head=head, block_pattern=block_pattern)
    nn.init.normal_(model.output_layer.weight, std=0.02)
    nn.init.zeros_(model.output_layer.bias)
    if before.get("lora") and not scratch:
        from graftline.models.lora import Adapters, merge_lora, put_in_lora

        put_in_lora(model, Adapters(**before["lora"]), folder)
        merge_lora(model)  # what was adapted is the base of what comes now
    return model


def save_classifier(model: Classifier, preprocessor: Preprocessor, folder: Path, *, base: Path | None = None) -> None:
    """Write backbone, head, preprocessor and description: everything that `load_classifier` needs.

    Adapters that were not merged are taken out of the model and written beside the backbone. A backbone that is still
    that of the folder `base` is written as it lies there, byte for byte: equal files can be kept once.
    """
    adapters = None
    if has_lora(model):
        from graftline.models.lora import take_out_lora

        adapters = take_out_lora(model, folder)
    model.family.save(model.backbone, folder)
    if base is not None:
        _take_weights_of(base, model, folder)
    preprocessor.save(folder)
    save_file({name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    description = {
        "outputs": model.outputs.as_json(),
        "pooling": model.pooling,
        "head": model.head_kind,
        "reading": asdict(preprocessor.reading),
        "lora": asdict(adapters) if adapters else None,
    }
    write_json(folder / DESCRIPTION, cast("dict[str, Any]", description))


def _take_weights_of(base: Path, model: Classifier, folder: Path) -> None:
    """Put the base model's files of weights in the place of those in `folder`, if the same backbone is loaded then."""
    own, published = sorted(folder.glob(WEIGHTS)), sorted(base.glob(WEIGHTS))
    if not 0 < _bytes_of(published) <= LARGER * _bytes_of(own) or not _loads_as(model, base):
        return
    for path in own:
        path.unlink()
    taken = [Path(shutil.copyfile(path, folder / path.name)) for path in published]
    if not _loads_as(model, folder):  # beside the configuration that was written for the backbone
        for path in taken:
            path.unlink()
        model.family.save(model.backbone, folder)


def _loads_as(model: Classifier, folder: Path) -> bool:
    """Whether the backbone in a folder is that of `model`, bit for bit."""
    try:
        loaded = model.family.load(folder)
    except BaseModelRefusedError:
        return False
    return tensors_sha256(loaded.state_dict()) == tensors_sha256(model.backbone.state_dict())


def _bytes_of(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def load_classifier(folder: Path) -> Classifier:
    """An adapted model as `save_classifier` wrote it, in eval mode."""
    description = _description(folder)
    family = _family_of(folder, Reading(**description["reading"]))
    model = Classifier(
        family.load(folder),
        family,
        pooling=description["pooling"],
        outputs=outputs_of(description["outputs"]),
        head=description["head"],
    )
    if description["lora"]:
        from graftline.models.lora import Adapters, put_in_lora

        put_in_lora(model, Adapters(**description["lora"]), folder)
    model.head.load_state_dict(load_file(folder / HEAD))
    return model.eval()


def keeps_adapters(folder: Path) -> bool:
    """Whether the model in `folder` was adapted by low-rank adapters that stand beside its weights."""
    return (folder / DESCRIPTION).exists() and bool(_description(folder).get("lora"))


def load_preprocessor(folder: Path, reading: Reading | None = None) -> Preprocessor:
    """The preprocessor of the model in `folder`; without `reading`, as the adapted model there reads."""
    reading = reading or Reading(**_description(folder)["reading"])
    return _family_of(folder, reading).preprocessor(folder, reading)


def _family_of(folder: Path, reading: Reading) -> Family:
    config = read_config(folder)
    for family in _families(reading.kind):
        if family.recognises(config):
            return family
    raise BaseModelRefusedError(
        f"{folder.name}: is {config['architecture']} of timm, a model of images, but data.kind is {reading.kind};"
        " choose a base model of that kind"
    )


def _families(kind: Kind) -> tuple[Family, ...]:
    """The families that read such inputs; a folder belongs to the first that recognises it."""
    # Imported where they are used: a registered text model shall not need the libraries of images and sounds.
    if kind == "text":
        from graftline.models.text_models import TEXT

        return (TEXT,)
    if kind == "image":
        from graftline.models.timm_images import TIMM
        from graftline.models.transformers_images import TRANSFORMERS_IMAGES

        return (TIMM, TRANSFORMERS_IMAGES)
    from graftline.models.speech_models import SPEECH
    from graftline.models.whisper_models import WHISPER

    return (WHISPER, SPEECH)


def _description(folder: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
