"""Git and DVC around a project that is to begin."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from graftline.errors import DataRefusedError, SettingsError
from graftline.files import write_atomically
from graftline.tasks.data.dvc_folder import CONFIG, LOCAL_CONFIG, dvc_folder, open_repo, private_site_cache
from graftline.tasks.progress import waiting
from graftline.tasks.tracking.git import git, refusal

DVC_CONFIG = """[core]
    analytics = false
    autostage = false
    check_update = false
{scm}# Where the data are kept for everybody: `dvc remote add --default team s3://BUCKET/PREFIX`, then
# `dvc remote modify team verify true` (without it DVC accepts wrong or cut bytes) and `dvc push`.
"""
NO_SCM = "    no_scm = true\n"
NOT_SHARED = "/config.local\n/tmp\n/cache\n"
IGNORED_BY_GIT = ("/artifacts/", "/reports/", "/feedback/", "/.graftline/", "/mlflow/mlflow.db*", "/mlflow/artifacts/",
                  "/mlflow/history/")  # fmt: skip


def repository_of(root: Path) -> Path | None:
    """The root of the git repository that the folder lies in, which may be a worktree.

    Raises: SettingsError if git refuses to tell: a project that goes without it could never be reproduced.
    """
    if why := refusal(root):
        raise SettingsError(f"{root}: {why}; then run `graftline init` again")
    answer = git(root, "rev-parse", "--show-toplevel")
    return Path(answer) if answer else None


def tracked_by_git(root: Path, folder: str) -> int:
    """The number of files below a folder of the project that git tracks."""
    listed = git(root, "ls-files", "-z", "--", f"./{folder}")
    return listed.count("\0") if listed else 0


def untrack(root: Path, folder: str) -> None:
    """Make git forget the folder's files, which stay where they are."""
    git(root, "rm", "-r", "--cached", "--quiet", "--", f"./{folder}")


def begin_dvc(root: Path, repository: Path | None) -> str:
    """Make the project one of DVC's, unless it is one. Returns: what was done.

    What `dvc init` does, which also removes what it finds in a folder that is shared with other users.
    """
    folder = dvc_folder(root)
    if (folder / CONFIG).is_file() and (repository is None or folder.is_relative_to(repository.resolve())):
        if repository and _join_git(folder):
            return f"{folder}: is there already; used with git from now on"
        return f"{folder}: is there already; used as it is"
    folder = root / ".dvc"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / CONFIG, DVC_CONFIG.format(scm="" if repository else NO_SCM))
    # Also without git, which may come later.
    write_atomically(folder / ".gitignore", NOT_SHARED)
    # By hand, because DVC cannot write a path that is not ASCII.
    site_cache = private_site_cache(root)
    write_atomically(folder / LOCAL_CONFIG, f'[core]\n    site_cache_dir = "{site_cache}"\n')
    if not (root / ".dvcignore").exists():
        write_atomically(root / ".dvcignore", "")
    how = "without git" if repository is None else "" if repository.resolve() == root.resolve() else "of this subfolder"
    return f".dvc/: made{f' ({how})' if how else ''}; no telemetry, nothing staged by itself, its scratch space private"


def _join_git(folder: Path) -> bool:
    """Take out of DVC's configuration that there is no git. Returns: whether it stood there."""
    config = (folder / CONFIG).read_text(encoding="utf-8")
    if NO_SCM not in config:
        return False
    if not (folder / ".gitignore").exists():
        write_atomically(folder / ".gitignore", NOT_SHARED)
    write_atomically(folder / CONFIG, config.replace(NO_SCM, ""))
    return True


def ignored_line(folder: str) -> str:
    """The line of .gitignore for a folder with a version, as DVC writes it."""
    return "/" + re.sub(r"([\[\]!*#?])", r"\\\1", folder)


def version_data(root: Path, folder: str) -> str:
    """Give a folder of the project a version, unless it has one. Returns: what was done."""
    pointer = root / f"{folder}.dvc"
    if pointer.exists():
        return f"{pointer.name}: is there already; kept"
    from dvc.exceptions import DvcException

    # It would print how to commit the file.
    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        with waiting(f"dvc add {folder}"), open_repo(root) as repo:
            repo.add([str(root.resolve() / folder)])
    except (DvcException, OSError) as error:
        raise DataRefusedError(
            f"{folder}/: `dvc add {folder}` refuses ({' '.join(str(error).split())}); mend that and run again"
        ) from None
    return f"{pointer.name}: names the version of {folder}/; its files are in DVC's cache, not in git"


def ignore(root: Path, patterns: Sequence[str]) -> str | None:
    """Add to .gitignore what it does not say yet. Returns: what was done."""
    path = root / ".gitignore"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [pattern for pattern in patterns if pattern not in before.splitlines()]
    if not missing:
        return None
    gap = "" if before.endswith("\n") or not before else "\n"
    write_atomically(path, before + gap + "\n".join(missing) + "\n")
    return f".gitignore: {'written' if not before else f'{len(missing)} lines added'}"
