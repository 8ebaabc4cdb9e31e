"""What git says of a folder, and why where it says nothing."""

import os
import re
import subprocess
from pathlib import Path

NO_GIT = "there is no git on this machine, and the folder lies in a repository; install git"
# Its own remedy, without the path of this machine.
NOT_OURS = (
    "git refuses to tell the commit: the repository belongs to another user ('dubious ownership'); run"
    ' `git config --global --add safe.directory "$PWD"` in the folder that holds .git, as the user who runs this'
)
# What git calls a repository that has none yet.
NO_COMMIT_YET = ("unknown revision", "Needed a single revision", "ambiguous argument 'HEAD'")


def git(folder: Path, *arguments: str) -> str | None:
    """The answer of git, without its last line break; None where it refuses, as outside of any repository."""
    done = _asked(folder, *arguments)
    return done.stdout.removesuffix("\n") if done is not None and done.returncode == 0 else None


def refusal(folder: Path) -> str | None:
    """Why git does not tell the commit of a folder that lies in a repository; None where it does, or there is none.

    In a sentence without paths of this machine, for pages.
    """
    if not any((place / ".git").exists() for place in (folder.resolve(), *folder.resolve().parents)):
        return None
    done = _asked(folder, "rev-parse", "HEAD")
    if done is None:
        return NO_GIT
    if done.returncode == 0 or any(words in done.stderr for words in NO_COMMIT_YET):
        return None
    if "dubious ownership" in done.stderr:
        return NOT_OURS
    fault = next((line for line in done.stderr.splitlines() if line.startswith("fatal: ")), "fatal: no message")
    told = re.sub(r"'?/\S+", "...", fault.removeprefix("fatal: "))
    return f"git refuses to tell the commit ({told}); see what `git status` says in the project folder and mend that"


def _asked(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    """None where there is no git on this machine."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(  # noqa: S603
            # In English: what it refuses is known by its words.
            command,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
