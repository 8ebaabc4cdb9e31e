"""What git says of a folder."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str | None:
    """The answer of git, without its last line break; None where it refuses, as outside of any repository."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return None  # there is no git on this machine
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None
