"""DVC's own folder of a project, in the project or above it, and the cache that its configuration names."""

import configparser
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from graftline.errors import DataRefusedError

if TYPE_CHECKING:
    from dvc.repo import Repo

CONFIG, LOCAL_CONFIG = "config", "config.local"
IGNORE = ".dvcignore"


def dvc_folder(root: Path) -> Path:
    """The folder .dvc/ that DVC uses in `root`: there, or in the nearest folder above; without one, there to be."""
    root = root.resolve()
    return next((place / ".dvc" for place in (root, *root.parents) if (place / ".dvc").is_dir()), root / ".dvc")


def cache_folder(root: Path) -> Path:
    """The folder of DVC's cache, which may be shared or lie elsewhere (`dvc cache dir`).

    Read from the files of its configuration, because importing DVC takes longer than a run in which nothing changed.
    """
    folder = dvc_folder(root)
    named = (_cache_in(path) for path in _config_files(folder))
    return next((path for path in named if path is not None), folder / "cache")


def names_remote(root: Path) -> bool:
    """Whether DVC knows a place from which data can be fetched."""
    return any(configuration(path).has_option("core", "remote") for path in _config_files(dvc_folder(root)))


def objects_folder(root: Path) -> Path:
    """The folder in which the cache keeps files by their MD5."""
    return cache_folder(root) / "files" / "md5"


def ignored_files(root: Path, folder: Path, names: Iterable[str]) -> set[str]:
    """Those of the files below a folder that DVC leaves out, because a .dvcignore says so."""
    top = dvc_folder(root).parent
    above = [place for place in (folder.resolve(), *folder.resolve().parents) if place.is_relative_to(top)]
    files = [*(place / IGNORE for place in above), *folder.rglob(IGNORE)]
    if not any(_names_something(path) for path in files if path.is_file()):
        return set()
    with open_repo(root) as repo:
        return {name for name in names if repo.dvcignore.is_ignored_file(str(folder.resolve() / name))}


def _names_something(path: Path) -> bool:
    """Whether there is more in it than the words of `dvc init`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


@contextmanager
def open_repo(root: Path) -> Iterator["Repo"]:
    """DVC's repository of a project. Raises: what DVC raises."""
    # Imported here because it is slow and a run whose data is in place does without.
    from dvc.repo import Repo

    with Repo(str(root.resolve()), config={"core": {"site_cache_dir": str(private_site_cache(root))}}) as repo:
        yield repo


@contextmanager
def open_repo_beside(root: Path, place: Path) -> Iterator["Repo"]:
    """A repository in the folder `place` with the configuration and the cache of a project's, and without git."""
    from dvc.repo import Repo

    folder = place / ".dvc"
    folder.mkdir(exist_ok=True)
    for name in (CONFIG, LOCAL_CONFIG):
        path = dvc_folder(root) / name
        if path.is_file():
            (folder / name).write_bytes(path.read_bytes())
    core = {"site_cache_dir": str(private_site_cache(root)), "no_scm": True, "autostage": False}
    with Repo(str(place.resolve()), config={"core": core, "cache": {"dir": str(cache_folder(root))}}) as repo:
        yield repo


def private_site_cache(root: Path) -> Path:
    """A folder for what DVC unpickles. Its default lies in a place shared with other users."""
    private = dvc_folder(root) / "tmp" / "site_cache"
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    return private


def _config_files(folder: Path) -> list[Path]:
    """The files that configure DVC, the strongest first."""
    of_user = os.getenv("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")
    of_system = os.getenv("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")
    return [folder / LOCAL_CONFIG, folder / CONFIG, Path(of_user) / CONFIG, Path(of_system) / CONFIG]


def _cache_in(path: Path) -> Path | None:
    """The cache that a file of the configuration names; a relative path starts where the file lies."""
    named = configuration(path).get("cache", "dir", fallback="").strip().strip("\"'")
    return (path.parent / Path(named).expanduser()).resolve() if named else None


def configuration(path: Path) -> configparser.ConfigParser:
    """A file of DVC's configuration; of none an empty one. Raises: DataRefusedError if it cannot be read."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DataRefusedError(
            f"{path}: not readable as DVC's configuration ({' '.join(str(error).split())}); mend the file"
        ) from None
    return parser
