"""Whether the disk and the memory will do for a run, told before it begins."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graftline.errors import NoRoomError
from graftline.settings.adaptation import AdaptationSettings

# What a training holds of each weight that it changes: gradient, two moments of AdamW, and its best value so far.
TRAINED_COPIES = 4
# And of every weight, whatever is trained: the model itself, and one as it is loaded or saved.
HELD_COPIES = 2
# Python with PyTorch, transformers, MLflow and Prefect; a run, and the fresh process that it asks a new version in.
PROCESS_BYTES, PROCESSES = 650_000_000, 2
# In a checkpoint: weights, two moments, best weights. Two are kept, and a third is being written.
CHECKPOINT_COPIES, CHECKPOINTS = 4, 3
# The adapted model and MLflow's copy of it, and the base model in the store.
MODELS_ON_DISK = 3
# Predictions, pages, databases.
SPARE_BYTES = 100_000_000
# A run that has less than this share of what is estimated is not begun: the estimate errs by less than the rest.
SURE_SHARE = 0.75
# Strategies under which every weight learns, unless a freeze point leaves some out.
TRAINS_ALL = ("fine_tuning", "probe_then_fine_tune", "contrastive", "gradual_unfreezing", "auto")
UNFINISHED = ("artifacts/fine_tune/.*.partial", "artifacts/pretraining/.*.partial")
# What no limit is, in the first version of Linux's control groups.
NO_LIMIT_BYTES = 1 << 60
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Bytes that a run needs beside what is there; kept features are not counted: where there is no room they go."""

    disk: int
    memory: int


def needed_room(settings: AdaptationSettings, model_bytes: int) -> Room:
    """About so much a run needs, if its base model is that large.

    Where a freeze point or the strategy leaves some weights to learn, nobody knows yet how many: none are counted.
    """
    trains_all = settings.strategy in TRAINS_ALL and settings.freeze_until is None
    trained = model_bytes if trains_all or settings.pretraining_epochs else 0
    disk = MODELS_ON_DISK * model_bytes + CHECKPOINTS * CHECKPOINT_COPIES * trained + SPARE_BYTES
    memory = PROCESSES * PROCESS_BYTES + HELD_COPIES * model_bytes + TRAINED_COPIES * trained
    return Room(disk, memory)


def free_room(root: Path) -> Room | None:
    """What is free for a run in the folder `root`; None where the system does not say it of the memory."""
    memory = free_memory()
    return None if memory is None else Room(shutil.disk_usage(root).free, memory)


def free_memory(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Bytes that may still be used here, swap included: of the machine, or of the narrowest control group."""
    try:
        told = dict(line.split(":", 1) for line in (proc / "meminfo").read_text(encoding="utf-8").splitlines())
        free = sum(int(told[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return None
    return min([free, *_free_in_groups(proc, groups)])


def require_room(root: Path, settings: AdaptationSettings, model_bytes: int) -> None:
    """Raises: NoRoomError if a run would surely not have enough.

    Who goes on with a training that was stopped has much of it on the disk already, and finds out.
    """
    needed, free = needed_room(settings, model_bytes), free_room(root)
    if free is None:
        return
    if free.disk < SURE_SHARE * needed.disk and not any(any(root.glob(left)) for left in UNFINISHED):
        raise NoRoomError(
            f"{root}: {_gigabytes(free.disk)} are free on the disk, a run with strategy {settings.strategy} needs about"
            f" {_gigabytes(needed.disk)}; make room (`graftline gc`), or put the project on another disk"
        )
    if free.memory < SURE_SHARE * needed.memory:
        raise NoRoomError(
            f"memory: {_gigabytes(free.memory)} are free, a run with strategy {settings.strategy} needs about"
            f" {_gigabytes(needed.memory)}; end other programs, raise the limit of the container, or choose a smaller"
            " base model or adaptation.strategy=feature_extraction"
        )


def _free_in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What each limit on this process's control group, or one around it, leaves."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
            yield from _free_around(groups, path, *names)
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _free_around(groups / "memory", path, *names)


def _free_around(top: Path, path: str, limit: str, used: str, cached: str) -> Iterator[int]:
    place = top / path.lstrip("/")
    # In a container the path may be the machine's, and only the top is there.
    for group in [place, *place.parents][: len(Path(path).parts)] if place.is_dir() else [top]:
        try:
            most, now = (group / limit).read_text().strip(), int((group / used).read_text())
            stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most != "max" and int(most) < NO_LIMIT_BYTES:
            # What of files is cached gives way.
            yield max(0, int(most) - now + int(stats.get(cached, 0)))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
