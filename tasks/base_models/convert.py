"""Weights that are not safetensors into a locked folder of the project: the one way in for them, taken by hand."""

import hashlib
import importlib.metadata
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from graftline.base_models.allowed_files import TEXT_SUFFIXES, TOKENIZER_SUFFIXES, check_content
from graftline.base_models.lock import MODEL_CARD, UNKNOWN_LICENCE, LockedModel, card_licence, list_files
from graftline.base_models.vocabulary import check_vocabulary
from graftline.digests import file_sha256, folder_sha256
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.files import sync_folder, write_atomically
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.base_models.sources import installed_package, parse_uri
from graftline.tasks.step_folders import Outcome
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.base_models.conversion import Conversion

PICKLED = "pytorch_model.bin"
CONFIG = "config.json"
SHOWN_NAMES = 5
BY_ORDER = (
    "\nNames did not say where all tensors belong, so their order did. Shapes show neither that the architecture pads,"
    " activates and normalises\nas the one in which the weights were trained, nor that layers of one shape come in the"
    " same order: the scores of its features do.\n"
)


@dataclass(frozen=True)
class ConvertedModel:
    """A checkpoint as a locked base model; `uri` is what `base_model.uri` takes."""

    uri: str
    source: str
    source_sha256: str
    conversion: "Conversion"
    locked: LockedModel
    outcome: Outcome


@dataclass(frozen=True)
class _Weights:
    """A file of weights: what the user called it, where it lies, and what it is."""

    source: str
    path: Path
    version: str | None
    sha256: str


def convert_model(
    workspace: Workspace,
    source: str,
    *,
    output: str,
    architecture: str | None = None,
    entry: str | None = None,
    licence: str | None = None,
) -> ConvertedModel:
    """Convert the weights that `source` names into the folder `output` of the project, and lock it.

    `source` is package:NAME/FILE or a path in the project; of a folder its pytorch_model.bin. What is not timm's
    `architecture` is what config.json beside the weights says; its tokenizer and preprocessing come along.
    A folder appears whole or not at all; one that holds something else already stays as it is.
    Raises: SettingsError for arguments that are wrong; BaseModelRefusedError for weights that are.
    """
    folder = _inside(workspace, output, "--output")
    weights = _find(workspace, source)
    uri = f"path:{folder.relative_to(workspace.root.resolve()).as_posix()}"
    partial = folder.with_name(f".{folder.name}.partial")
    locks = workspace.artifacts / "base_models"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f".converting-{hashlib.sha256(uri.encode()).hexdigest()[:32]}.lock"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            if architecture is None:
                _copy_description(weights, folder, partial)
            conversion = _convert(weights, partial, architecture, entry)
            check_vocabulary(partial, source)
            known = licence or card_licence(weights.path.parent) or UNKNOWN_LICENCE
            write_atomically(partial / MODEL_CARD, _card(folder.name, weights, conversion, known))
            outcome = _move(partial, folder, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return ConvertedModel(uri, source, weights.sha256, conversion, lock_model(workspace, uri), outcome)


def _inside(workspace: Workspace, given: str, argument: str) -> Path:
    root = workspace.root.resolve()
    path = (root / given).resolve()
    if path == root or not path.is_relative_to(root):
        raise SettingsError(
            f"{argument}: {given!r} is not inside of the project {root}, expected a path below it; correct the argument"
        )
    return path


def _find(workspace: Workspace, source: str) -> _Weights:
    version = None
    if source.startswith("package:"):
        _, parts = parse_uri(source)
        package, version, _ = installed_package(source, parts["name"])
        path = package / parts["folder"]
    else:
        path = _inside(workspace, source.removeprefix("path:"), "the source")
    path = path / PICKLED if path.is_dir() else path
    if not path.is_file():
        raise BaseModelRefusedError(
            f"{source}: there is no file {path}, expected one with weights: package:NAME/FILE, or a path in the"
            f" project, of a file or of a folder with {PICKLED}; correct the source"
        )
    return _Weights(source, path, version, file_sha256(path))


def _copy_description(weights: _Weights, folder: Path, partial: Path) -> None:
    """Copy what describes the model: configuration, tokenizer, preprocessing; nothing that holds weights or code."""
    beside = weights.path.parent
    if not (beside / CONFIG).is_file():
        raise SettingsError(
            f"{weights.source}: has no {CONFIG} beside it that says what the weights are of; put the publisher's there,"
            " or name an architecture of timm with --architecture"
        )
    if folder.is_relative_to(beside.resolve()):
        raise SettingsError(
            f"--output: {folder} lies in the folder of the weights, all of which describes them; expected one outside"
            f" of {beside}: name another, or move the weights into a folder of their own"
        )
    for name in list_files(beside, weights.source):
        path = Path(name)
        # The index of sharded weights names files that stay behind.
        if path.suffix not in TEXT_SUFFIXES | TOKENIZER_SUFFIXES or name == MODEL_CARD or name.endswith(".index.json"):
            continue
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(beside / path, partial / path)
        check_content(partial / path, name, weights.source)


def _convert(weights: _Weights, partial: Path, architecture: str | None, entry: str | None) -> "Conversion":
    from graftline.base_models.conversion import convert
    from graftline.base_models.pickled_weights import read_tensors

    tensors = read_tensors(weights.path, weights.source, entry=entry)
    return convert(tensors, partial, where=weights.source, architecture=architecture)


def _card(name: str, weights: _Weights, conversion: "Conversion", licence: str) -> str:
    match, library = conversion.match, conversion.library
    version = f", version {weights.version}" if weights.version else ""
    left_out = ", ".join(json.dumps(name) for name in match.left_out[:SHOWN_NAMES])
    more = ", ..." if len(match.left_out) > SHOWN_NAMES else ""
    return (
        f"---\nlicense: {json.dumps(' '.join(licence.split()))}\n---\n# {name}\n\n"
        "Converted to safetensors by `graftline convert`; the tensors are bit for bit those of the source.\n\n"
        f"- Source: `{weights.source}`{version}\n"
        f"- Its sha256: `{weights.sha256}`, {weights.path.stat().st_size} bytes\n"
        f"- Architecture: {conversion.architecture} of {library} {importlib.metadata.version(library)}\n"
        f"- Tensors: {match.by_name} placed by name, {match.by_order} by order, {match.fresh} counters set to 0,"
        f" {len(match.left_out)} left out{f' ({left_out}{more})' if left_out else ''}\n"
        f"{BY_ORDER if match.by_order else ''}"
    )


def _move(partial: Path, folder: Path, output: str) -> Outcome:
    if folder.is_dir() and folder_sha256(folder) == folder_sha256(partial):
        return "reused"
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SettingsError(
            f"--output: {output} exists and is not what these weights become, expected a new folder; name another, or"
            " delete it if nothing needs it"
        )
    partial.rename(folder)
    sync_folder(folder.parent)
    return "ran"
