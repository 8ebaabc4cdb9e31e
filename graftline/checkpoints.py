"""Checkpoints of a training: tensors as safetensors, everything else as JSON, in folders that appear in one move."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from safetensors.torch import load_file, save_file
from torch import Tensor

from graftline.digests import file_sha256, json_sha256
from graftline.files import sync_folder, write_json

KEPT = 2  # the newest and, should it turn out damaged, the one before
TENSORS, STATE = "tensors.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What training needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    state: dict[str, JsonValue]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JsonValue]) -> None:
    """Write `folder/step-<step>` in one move and remove all but the newest `KEPT`."""
    final, partial = folder / f"step-{step:09d}", folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial / TENSORS)
    digests: dict[str, JsonValue] = {"tensors": file_sha256(partial / TENSORS), "state": json_sha256(dict(state))}
    write_json(partial / STATE, {"sha256": digests, "state": dict(state)})
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    sync_folder(folder)
    for old in _finished(folder)[:-KEPT]:
        shutil.rmtree(old)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is intact, or None."""
    for path in reversed(_finished(folder)):
        try:
            written = json.loads((path / STATE).read_text(encoding="utf-8"))
            seen = {"tensors": file_sha256(path / TENSORS), "state": json_sha256(written["state"])}
            if written["sha256"] == seen:
                return Checkpoint(load_file(path / TENSORS), written["state"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # cut or damaged: the one before it is as good, only older
    return None


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
