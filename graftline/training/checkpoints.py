"""Checkpoints of a training: tensors as safetensors, everything else as JSON, in folders that appear in one move."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from safetensors.torch import load_file, save_file
from torch import Tensor

from graftline.digests import file_sha256, json_sha256
from graftline.files import sync_folder, write_json

KEPT = 2  # the newest and, should it turn out damaged, the one before
# Of the time since the last checkpoint: as much as one at the end of an epoch may take. That of a MiniLM (360 MB) took
# 1.2 to 1.9 seconds, a tenth of an epoch over a few hundred rows.
CHEAP_SHARE = 0.02
TENSORS, STATE = "tensors.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    state: dict[str, JsonValue]


@dataclass
class Pace:
    """When the next checkpoint is due, so that a kill costs little work and checkpoints cost little time."""

    most_seconds: float
    """A kill costs at most this much work."""
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _cost: float = 0.0
    """Seconds that the last checkpoint took."""

    def __post_init__(self) -> None:
        self._last = self.clock()

    @property
    def is_due(self) -> bool:
        """Whether one has to be written now, wherever the training stands."""
        return self.clock() - self._last > self.most_seconds

    @property
    def is_cheap(self) -> bool:
        """Whether one may be written at a good place such as the end of an epoch; the first one always may."""
        return self._cost <= CHEAP_SHARE * (self.clock() - self._last)

    def write(self, save: Callable[[], None]) -> None:
        """Write one."""
        began = self.clock()
        save()
        self._last = self.clock()
        self._cost = self._last - began


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
