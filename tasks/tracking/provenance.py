"""All that it takes to repeat a run: code, data, base model, settings, libraries, machine."""

import platform
from pathlib import Path

from pydantic import JsonValue

from graftline.digests import file_sha256
from graftline.settings import Settings
from graftline.tasks.own_code import all_code_sha256
from graftline.tasks.tracking.git import git, refusal
from graftline.tasks.tracking.requirements import installed_libraries
from graftline.tasks.workspace import Workspace

LOCK_FILES = ("requirements.lock", "base_models.lock")


def provenance(workspace: Workspace, settings: Settings, *, threads: int) -> dict[str, JsonValue]:
    """Plain values, none of them secret, and no path of this machine."""
    return {
        "git_commit": git(workspace.root, "rev-parse", "HEAD"),
        "git_refusal": refusal(workspace.root),
        "project_folder": git(workspace.root, "rev-parse", "--show-prefix"),
        "git_clean": git(workspace.root, "status", "--porcelain", "--", ".", *_REWRITTEN_BY_RUNS) == "",
        "code_sha256": all_code_sha256(),
        "locks": {name: file_sha256(workspace.root / name) for name in LOCK_FILES if (workspace.root / name).exists()},
        "settings": settings.model_dump(mode="json"),
        "seed": settings.adaptation.seed,
        "threads": threads,
        "libraries": dict(sorted(installed_libraries().items())),
        "python": platform.python_version(),
        "processor": processor(),
        "gpu": gpu(settings.adaptation.device),
        "system": platform.platform(),
    }


NO_COMMIT = "there is no commit of the project to go back to"


def unrepeatable(git_commit: str | None, refused: str | None = None) -> str | None:
    """Why a run cannot be reproduced, if it cannot; the commit as a run or its tag names it, and why git `refused`."""
    return (refused or NO_COMMIT) if git_commit in (None, "None") else None


# `dvc repro` notes what it did in this file while the run goes on.
_REWRITTEN_BY_RUNS = (":!dvc.lock",)


def processor() -> str:
    """The processor's model name: another one may round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def gpu(device: str) -> str | None:
    """The name of the GPU, if that is what adapts the model: another one may round differently."""
    import torch

    return torch.cuda.get_device_name(device) if device == "cuda" and torch.cuda.is_available() else None
