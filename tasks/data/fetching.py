"""Bringing a version of the data into DVC's cache by a process of its own, which can be ended if the remote is slow."""

import json
import os
import sys
from pathlib import Path

from graftline.tasks.children import run_child
from graftline.tasks.data.dvc_folder import open_repo
from graftline.tasks.own_code import PACKAGE
from graftline.tasks.pace import Pace

CALL_BYTES = 4_096


class NotFetchedError(Exception):
    """DVC could not fetch a version, and says why."""


def fetch(root: Path, pointer: Path) -> None:
    """Have DVC fetch what a .dvc file names.

    Raises: NotFetchedError with DVC's words; SourceUnavailableError if the remote sends next to nothing.
    """
    ours = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_child(
        # DVC's remotes come as plug-ins, but none from the folder that happens to be the present one.
        [sys.executable, "-P", "-m", __name__, str(root.resolve()), str(pointer.resolve())],
        folder=root,
        environment={**os.environ, "PYTHONPATH": ours},
        keep_errors=True,
        look=Pace(f"the remote of {pointer.name}", bytes_moved_by).look,
    )
    if done.returncode != 0:
        last_words = done.stderr.strip().rpartition("\n")[2]
        raise NotFetchedError(_reason(done.stdout) or last_words or f"it ended with exit code {done.returncode}")


def bytes_moved_by(process: int) -> int | None:
    """What a process has read and written so far, hashing included; None where the system does not say.

    Each call for it counts as `CALL_BYTES`: of a thousand tiny files, each of which takes the remote a moment, hardly a
    byte a second comes, and all is well. Bytes that trickle into a file are gathered, and make next to no calls.
    """
    try:
        said = Path(f"/proc/{process}/io").read_text(encoding="ascii")
    except OSError:
        return None
    counts = {name: int(count) for name, _, count in (line.partition(":") for line in said.splitlines())}
    return counts["rchar"] + counts["wchar"] + CALL_BYTES * (counts["syscr"] + counts["syscw"])


def _reason(said: str) -> str:
    try:
        return str(json.loads(said.splitlines()[-1])["reason"])
    except (ValueError, LookupError, TypeError):
        return ""


def main(root: str, pointer: str) -> int:
    """Fetch. Returns: the exit code; the reason of a failure is the last line that is printed."""
    from dvc.exceptions import DvcException

    try:
        with open_repo(Path(root)) as repo:
            # Absolute: DVC looks for a relative target in the process's folder, which may be another project.
            repo.fetch(targets=[pointer])
    except (DvcException, OSError) as error:
        print(json.dumps({"reason": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
