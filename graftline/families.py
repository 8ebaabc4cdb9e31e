"""Families of models: how each is loaded, saved, fed and pooled; and adapted models as folders."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graftline.backbones import save_transformers
from graftline.classifier import Classifier, Pooling, Vectors
from graftline.files import write_json
from graftline.preprocessing import Preprocessor, Reading
from graftline.text import load_text_backbone, load_text_preprocessor, text_pooling, text_vectors

# Beside the backbone's own files: what the libraries of models do not know of.
DESCRIPTION, HEAD = "graftline.json", "head.safetensors"


@dataclass(frozen=True)
class Family:
    """What sets models of one kind and origin apart."""

    load: Callable[[Path], nn.Module]
    save: Callable[[nn.Module, Path], None]
    preprocessor: Callable[[Path, Reading], Preprocessor]
    vectors: Vectors
    width: Callable[[nn.Module], int]
    """Of what `vectors` gives."""
    pooling: Callable[[Path, nn.Module], Pooling]
    """How the publisher pools."""


TEXT = Family(
    load=load_text_backbone,
    save=save_transformers,
    preprocessor=load_text_preprocessor,
    vectors=text_vectors,
    width=lambda backbone: int(cast("Any", backbone).config.hidden_size),
    pooling=text_pooling,
)


def load_base(folder: Path, labels: Sequence[str], *, reading: Reading, seed: int) -> Classifier:
    """A base model with a new head for `labels`, whose weights the seed decides.

    Raises: BaseModelRefusedError if the folder lacks weights of the backbone, which would start as noise.
    """
    torch.manual_seed(seed)
    family = _family_of(reading)
    backbone = family.load(folder)
    # A model that was adapted before goes on with the pooling that it was adapted with.
    adapted = (folder / DESCRIPTION).exists()
    pooling = _description(folder)["pooling"] if adapted else family.pooling(folder, backbone)
    model = _classifier(family, backbone, labels, pooling)
    layer = cast("nn.Linear", model.head[1])
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return model


def save_classifier(model: Classifier, preprocessor: Preprocessor, folder: Path) -> None:
    """Write backbone, head, preprocessor and description: everything that `load_classifier` needs."""
    _family_of(preprocessor.reading).save(model.backbone, folder)
    preprocessor.save(folder)
    save_file({name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    description = {"labels": model.labels, "pooling": model.pooling, "reading": asdict(preprocessor.reading)}
    write_json(folder / DESCRIPTION, cast("dict[str, Any]", description))


def load_classifier(folder: Path) -> Classifier:
    """An adapted model as `save_classifier` wrote it, in eval mode."""
    description = _description(folder)
    family = _family_of(Reading(**description["reading"]))
    model = _classifier(family, family.load(folder), description["labels"], description["pooling"])
    model.head.load_state_dict(load_file(folder / HEAD))
    return model.eval()


def load_preprocessor(folder: Path, reading: Reading | None = None) -> Preprocessor:
    """The preprocessor of the model in `folder`; without `reading`, as the adapted model there reads."""
    reading = reading or Reading(**_description(folder)["reading"])
    return _family_of(reading).preprocessor(folder, reading)


def _family_of(reading: Reading) -> Family:
    return {"text": TEXT}[reading.kind]


def _classifier(family: Family, backbone: nn.Module, labels: Sequence[str], pooling: Pooling) -> Classifier:
    return Classifier(backbone, family.vectors, width=family.width(backbone), pooling=pooling, labels=labels)


def _description(folder: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
