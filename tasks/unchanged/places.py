"""Files and folders as they lay there: by size, times and inode, and by digest where those say too little."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from graftline.digests import file_sha256

# Two writes within one tick of a file system's clock leave the same times, and it is coarsest where a server keeps it.
# A file that was written so shortly before it was looked at is therefore read again.
YOUNG_NS = 2_000_000_000


class UnsureError(Exception):
    """This is nothing that can be known to be unchanged."""


class ChangedError(Exception):
    """Something differs from what was noted."""


class Look(NamedTuple):
    """A file as the file system describes it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    target: str | None
    """Of a link; size and times are those of the file that it leads to."""


@dataclass(frozen=True)
class Place:
    """A file or folder, below the project folder or anywhere."""

    path: str
    without: tuple[str, ...] = ()
    """Names of files and folders in it that do not count."""


@dataclass(frozen=True)
class Noted:
    """A file's content, and by what it can be known again."""

    sha256: str
    look: Look | None
    """None: its times cannot tell whether it was changed since, so it has to be read."""


Looks = Mapping[str, Look]


def looked_at(root: Path, place: Place) -> dict[str, Look] | None:
    """The files of a place by their path in it, "" for the place itself; None where there is nothing.

    Raises: UnsureError where there is more than files, folders and links to files.
    """
    path = root / place.path
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UnsureError(f"{path}: leads nowhere") from None
        return None
    return {"": _look(path)} if not stat.S_ISDIR(kind) else dict(_below(path, "", place.without))


def noted(root: Path, place: Place, looks: Looks, moment_ns: int, *, only_young: bool = False) -> dict[str, Noted]:
    """The files with their digests, all or only those that were young at the moment when they were looked at."""
    old = {name: _if_old(look, moment_ns) for name, look in looks.items()}
    return {
        name: Noted(file_sha256(root / place.path / name), look)
        for name, look in old.items()
        if look is None or not only_young
    }


def still_there(
    root: Path, place: Place, known: Mapping[str, Noted] | None, moment_ns: int, *, read_all: bool
) -> dict[str, Noted] | None:
    """What is to be noted now, where the content of all files is the same. Raises: ChangedError; UnsureError."""
    looks = looked_at(root, place)
    if looks is None and known is None:
        return None
    if looks is None or known is None or looks.keys() != known.keys():
        raise ChangedError(place.path)
    return {
        name: _same(root / place.path / name, known[name], look, moment_ns, read_all) for name, look in looks.items()
    }


def _same(path: Path, known: Noted, look: Look, moment_ns: int, read_all: bool) -> Noted:
    if known.look == look and not read_all:
        return known
    # Of another size or behind another link it is another file; of one that was young, nothing was noted.
    if known.look and (known.look.size, known.look.target) != (look.size, look.target):
        raise ChangedError(str(path))
    if file_sha256(path) != known.sha256:
        raise ChangedError(str(path))
    return Noted(known.sha256, _if_old(look, moment_ns))


def _if_old(look: Look, moment_ns: int) -> Look | None:
    return look if max(look.mtime_ns, look.ctime_ns) < moment_ns - YOUNG_NS else None


def _below(folder: Path, prefix: str, without: tuple[str, ...]) -> Iterator[tuple[str, Look]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{prefix}{entry.name}"
            if entry.name in without:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), f"{name}/", without)
            else:
                yield name, _look(Path(entry.path))


def _look(path: Path) -> Look:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UnsureError(f"{path}: is no file, and no link to one")
    target = str(path.readlink()) if path.is_symlink() else None
    return Look(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, target)
