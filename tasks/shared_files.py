"""Equal files of steps and base models, kept on the disk once."""

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from graftline.digests import file_sha256
from graftline.files import files_below

# For what is smaller, looking it up is not worth the while.
SMALLEST_BYTES = 16 << 10
# Linux's request for a copy that shares its bytes until one of both is written to: btrfs, xfs, bcachefs, some NFS.
FICLONE = 0x40049409
NO_CLONES = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM, errno.EACCES)
# Another disk, a file system without links, a file that has as many as it can, or is somebody else's.
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def share(store: Path, files: Mapping[Path, str]) -> None:
    """Let files take no room of their own where a whole one of the same SHA-256 was shared before.

    `files` were just read; nobody else knows of them yet. Where the file system can, each goes on as a file of its own.
    Elsewhere they become links to one file, which nobody may write to. Where neither is possible nothing happens.
    """
    for path, sha256 in files.items():
        if path.is_symlink() or path.stat().st_size < SMALLEST_BYTES:
            continue
        try:
            _share(store, path, sha256)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise


def give_back(folder: Path) -> None:
    """Remove the links among the files of an unfinished folder: whoever goes on in it may write to them."""
    for path in files_below(folder):
        if path.stat(follow_symlinks=False).st_nlink > 1:
            path.unlink()


def _share(store: Path, path: Path, sha256: str) -> None:
    kept = store / sha256
    while True:
        store.mkdir(parents=True, exist_ok=True)
        try:
            whole = _is_whole(kept, path, sha256)
            # A damaged one stays with those that have it: they are noticed where they are used, and made again.
            _put(*((kept, path) if whole else (path, kept)), beside=kept)
        except FileNotFoundError:
            if not path.exists():
                raise
            # `graftline gc` has removed the other one since it was looked at.
        else:
            return


def _is_whole(kept: Path, path: Path, sha256: str) -> bool:
    return kept.exists() and (kept.samefile(path) or file_sha256(kept) == sha256)


def _put(source: Path, target: Path, *, beside: Path) -> None:
    """Let `target` share the bytes of `source`. A kill leaves it as it was, and some file `beside` that one."""
    partial = beside.with_name(f".{uuid4().hex}.partial")
    try:
        if not _clone(source, partial):
            source.chmod(0o444)
            os.link(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)  # a link that replaces another of the same file stays


def _clone(source: Path, target: Path) -> bool:
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, original.fileno())
        except OSError as error:
            target.unlink()
            if error.errno not in NO_CLONES:
                raise
            return False
    return True
