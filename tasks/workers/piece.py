"""What happens on a worker: it is compared with the run's own machine, and a piece of work is done."""

import logging
import os
import pickle
import platform
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar

from graftline.errors import SettingsError
from graftline.tasks.own_code import all_code_sha256
from graftline.tasks.scratch import SCRATCH, scratch_folder
from graftline.tasks.state.shared import STATE
from graftline.tasks.step_uses import collected_uses
from graftline.tasks.tracking.provenance import gpu, processor
from graftline.tasks.workers.fanout import FolderNotSeenError
from graftline.tasks.workspace import Workspace

# What computes: other versions of them give other bits.
LIBRARIES = (
    "torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "scipy", "scikit-learn", "timm",
    "torchvision", "pillow", "soundfile", "soxr", "openvino", "optuna",
)  # fmt: skip

Value = TypeVar("Value")


@dataclass(frozen=True)
class Expected:
    """The run's own machine, as far as a worker must be like it. No secrets: Ray shows arguments to its readers."""

    code: str
    versions: tuple[str, ...]
    processor: str
    gpu: str | None
    """Of work that needs one."""
    state: str | None
    """The address of the team's state."""
    root: Path | None = None
    """The project folder, where a piece of work needs it."""
    seen: str = ""
    """The name of a scratch folder in it."""


@dataclass(frozen=True)
class Done(Generic[Value]):
    """An answer, and what was said and used on the way to it."""

    value: Value
    said: list[tuple[str, int, str]]
    """Logger, level and message of each line."""
    uses: list[str]
    """Folders below artifacts/ that the run needs."""


@contextmanager
def like_this_machine(project: Workspace | None, *, device: str = "cpu") -> Iterator[Expected]:
    """What each worker must be like; with a folder in the project, if it is needed, that only the same one has."""
    expected = Expected(
        all_code_sha256(), _versions(), processor(), gpu(device), os.environ.get(STATE, "").strip() or None
    )
    if project is None:
        yield expected
        return
    with scratch_folder(project) as seen:
        yield replace(expected, root=project.root.resolve(), seen=seen.name)


def do_piece(
    expected: Expected, function: Callable[[Any, Any], Value], shared: "list[Any]", item: object
) -> Done[Value]:
    """Call the function in the project folder, if it needs that, and keep what is said.

    Raises: SettingsError if this machine is not like the run's own; FolderNotSeenError; what the function raises.
    """
    _require_alike(expected)
    with _state(expected.state), _said() as said, collected_uses() as uses:
        if expected.root is None:
            value = function(_shared(shared[0]), item)
        else:
            _require_folder(expected.root, expected.seen)
            with chdir(expected.root):
                value = function(_shared(shared[0]), item)
    return Done(value, said, uses)


def do_stored(
    expected: Expected, function: Callable[[Any, Any], Value], shared: "list[Any]", content: bytes
) -> Done[Value]:
    """The same of an item that lies pickled in Ray's store."""
    return do_piece(expected, function, shared, pickle.loads(content))  # noqa: S301 - by the run's own process


def _require_alike(expected: Expected) -> None:
    for what, here, there in (
        ("Graftline's code", all_code_sha256()[:12], expected.code[:12]),
        ("its Python and libraries", ", ".join(_versions()), ", ".join(expected.versions)),
        ("its processor", processor(), expected.processor),
        ("its GPU", expected.gpu and gpu("cuda"), expected.gpu),
    ):
        if here != there:
            raise SettingsError(
                f"the Ray worker at {platform.node()} differs from the run's own machine, so results would: {what} is"
                f" {here}, expected {there}; install the same Graftline from the same lock on machines of one kind"
            )


def _require_folder(root: Path, seen: str) -> None:
    if not (Workspace(root).artifacts / SCRATCH / seen).is_dir():
        raise FolderNotSeenError(
            f"the Ray worker at {platform.node()} does not see the project folder {root} as the run's own machine does;"
            " mount one shared folder under that path on every machine, or set engine local in mlflow/compute.yaml"
        )


@cache
def _versions() -> tuple[str, ...]:
    return (f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in LIBRARIES))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not there"


_newest: list[tuple[str, Any]] = []


def _shared(reference: Any) -> Any:
    """What the pieces of a piece of work share, read once per process. What was read before it is let go first."""
    import ray

    name = reference.hex()
    if not _newest or _newest[0][0] != name:
        _newest.clear()
        _newest.append((name, ray.get(reference)))
    return _newest[0][1]


@contextmanager
def _state(address: str | None) -> Iterator[None]:
    """With the team's state that the run has; how to get into its bucket the worker must know by itself."""
    if address is None:
        os.environ.pop(STATE, None)
    else:
        os.environ[STATE] = address
    yield


@contextmanager
def _said() -> Iterator[list[tuple[str, int, str]]]:
    """Keeps the lines of our loggers, which the run's own process then says."""
    kept: list[tuple[str, int, str]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append((record.name, record.levelno, record.getMessage()))

    ours, keeper = logging.getLogger("graftline"), Keeper()
    ours.setLevel(logging.INFO)
    ours.addHandler(keeper)
    try:
        yield kept
    finally:
        ours.removeHandler(keeper)
