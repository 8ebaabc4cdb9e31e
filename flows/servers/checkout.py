"""The step before a run on a team's server: the project at the head of a branch, or at a commit, in the worker's clone.

Prefect's own step makes a new clone for each run; here finished steps and data of the last run are still there.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from graftline.errors import GraftlineError, SettingsError
from graftline.flows.heartbeats import preparing
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.witnesses.git_branch import CONFIGURATION, ENVIRONMENT, OF_ANOTHER_REPOSITORY

# Where a worker keeps its clones; and the commit that the step has checked out, for the run that follows.
PROJECTS, COMMIT = "GRAFTLINE_PROJECTS", "GRAFTLINE_COMMIT"
# Prefect's own: how often it starts a failed run again, and after how long.
RETRIES, RETRY_DELAY = "PREFECT_FLOWS_DEFAULT_RETRIES", "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"
RETRY_DELAY_SECONDS = 60
GIT_SECONDS = 600
POLL_SECONDS = 1.0
DIGITS = 12
# In .git/, which no commit holds: locked by every run in the clone, so that its files do not change under its feet.
IN_USE = "graftline-in-use"

logger = logging.getLogger("prefect.graftline.checkout")


def checkout(
    repository: str, branch: str, model: str, commit: str = "", folder: str = "", waits: bool = True, retries: int = 0
) -> dict[str, str]:
    """Bring the project into this worker's clone of the repository. Named by deployments as their pull step.

    While another run uses the clone at another commit, one that `waits` does so, and one that does not takes that one:
    a decision about a model need not wait for a training. Returns: `directory`, as Prefect expects it.
    Raises: GraftlineError if git cannot have the repository, the branch or the commit.
    """
    clone = projects_folder() / f"{model}-{sha256(repository.encode()).hexdigest()[:DIGITS]}"
    clone.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(clone.with_suffix(".lock"))
    with preparing():
        with lock:
            _clone(repository, clone)
            _git(clone, "fetch", "--quiet", "--no-tags", "origin", f"+refs/heads/{branch}:refs/remotes/origin/{branch}")
            wanted = _git(clone, "rev-parse", "--verify", f"{commit or f'refs/remotes/origin/{branch}'}^{{commit}}")
        _move(clone, wanted, lock, waits=waits)
    at = _git(clone, "rev-parse", "HEAD")
    logger.info("%s: %s at commit %s", model, without_password(repository), at[:DIGITS])
    os.environ[COMMIT] = at
    os.environ.setdefault(RETRIES, str(retries))
    os.environ.setdefault(RETRY_DELAY, str(RETRY_DELAY_SECONDS))
    directory = (clone / folder).resolve()
    os.chdir(directory)
    return {"directory": str(directory)}


def projects_folder() -> Path:
    """Where this worker keeps its clones."""
    named = os.environ.get(PROJECTS)
    return Path(named) / "projects" if named else Path.home() / ".cache" / "graftline" / "projects"


@contextmanager
def in_use(project: Path) -> Iterator[None]:
    """While the block runs, no other run moves the clone to another commit. For a folder that is no clone: nothing."""
    root = os.environ.get(COMMIT) and _top_level(project)
    if not root:
        yield
        return
    with (Path(root) / ".git" / IN_USE).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def head_of(repository: str, branch: str) -> str | None:
    """The commit at the head of a branch; None if the repository has no such branch.

    Raises: SettingsError if git cannot ask the repository.
    """
    try:
        listed = _git(Path("/"), "ls-remote", "--", repository, f"refs/heads/{branch}")
    except GraftlineError as error:
        raise SettingsError(str(error)) from None
    return listed.partition("\t")[0] or None


def _clone(repository: str, clone: Path) -> None:
    if (clone / ".git").exists():
        return
    draft = clone.with_name(f".{clone.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    _git(clone.parent, "clone", "--quiet", "--no-checkout", "--no-tags", "--", repository, str(draft))
    draft.rename(clone)


def _move(clone: Path, wanted: str, lock: FileLock, *, waits: bool) -> None:
    """Check the commit out, once no run in the clone needs another one. Who waits lets others have the lock."""
    said = False
    while True:
        with lock:
            if _moved(clone, wanted):
                return
        if not waits:
            logger.warning("another run works in this worker's clone; commit %s waits for it", wanted[:DIGITS])
            return
        if not said:
            logger.warning("waiting for another run, which works at another commit in this worker's clone")
        said = True
        time.sleep(POLL_SECONDS)


def _moved(clone: Path, wanted: str) -> bool:
    """Whether the clone is at that commit now; False while a run works in it at another one."""
    with (clone / ".git" / IN_USE).open("a") as file:
        if not _locked(file.fileno()):
            return _git(clone, "rev-parse", "HEAD") == wanted
        _git(clone, "checkout", "--quiet", "--force", "--detach", wanted)
        return True


def _locked(file: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _top_level(project: Path) -> str | None:
    with suppress(GraftlineError):
        return _git(project, "rev-parse", "--show-toplevel")
    return None


def _git(folder: Path, *arguments: str) -> str:
    """The answer of git. Raises: GraftlineError with what it said."""
    others = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    command = ["git", *CONFIGURATION, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours, and addresses stand behind --
            command, cwd=folder, env=others | ENVIRONMENT, capture_output=True, text=True, timeout=GIT_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GraftlineError(
            f"git {arguments[0]}: no end within {GIT_SECONDS} s; see that its server answers"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:", "ssh:"))]
        told = without_password_anywhere((lines or done.stderr.splitlines() or ["no message"])[0])
        raise GraftlineError(f"git {arguments[0]} of the project failed ({told}); see that this machine may read it")
    return done.stdout.strip()


def without_password_anywhere(text: str) -> str:
    """A message without what stands between :// and @ in the addresses that it names."""
    return re.sub(r"(://)[^/\s@]*@", r"\1", text)
