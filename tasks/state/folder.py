"""A room on a disk, which several processes and, through a file server, several machines may share."""

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from graftline.files import sync_folder, write_atomically
from graftline.tasks.state.room import BusyError, Kept, Lying, NoPlainFileError

# Nobody waits at a pipe that lies in the place of a file.
READ_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What the system says of a link, and of a socket.
NO_FILE_TO_OPEN = (errno.ELOOP, errno.ENXIO)
# Held while files are replaced: a file system has no verb that compares first.
REPLACING = ".replacing.lock"


class HeldFile:
    """A lock that the system gives back when its process ends, and to nobody before."""

    def is_sure(self) -> bool:
        return True


@dataclass(frozen=True)
class Folder:
    """A room in a folder, which is made when something is written. Names with a dot in front are its own."""

    path: Path

    def where(self, name: str) -> str:
        return str(self.path / name)

    def read(self, name: str) -> Kept | None:
        try:
            descriptor = os.open(self.path / name, READ_PLAIN)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._no_plain_file(name) if error.errno in NO_FILE_TO_OPEN else error from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._no_plain_file(name)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read()
        finally:
            os.close(descriptor)
        return Kept(content, sha256(content).hexdigest())

    def read_ahead(self, names: Sequence[str]) -> "Folder":  # noqa: ARG002 - a disk answers at once
        return self

    def write_once(self, name: str, content: bytes) -> bool:
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f".{name}.{uuid4().hex}.draft"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link appears whole or not at all, and only for the first who asks.
            os.link(draft, self.path / name)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        sync_folder(self.path)
        return True

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / REPLACING):
            there = self.read(name) if known is not None else None
            if known is not None and (there is None or there.mark != known):
                return False
            write_atomically(self.path / name, content)
        return True

    def upload(self, name: str, path: Path) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f".{name}.{uuid4().hex}.draft"
        try:
            with path.open("rb") as source, draft.open("wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path / name)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.path)

    def download(self, name: str, path: Path) -> bool:
        try:
            shutil.copyfile(self.path / name, path)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise
            return False
        return True

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))

    def age(self, name: str) -> float | None:
        try:
            return time.time() - (self.path / name).stat().st_mtime
        except FileNotFoundError:
            return None

    def lying(self) -> dict[str, Lying]:
        found = {name: (self.path / name).stat() for name in self.names() if (self.path / name).is_file()}
        return {name: Lying(one.st_size, time.time() - one.st_mtime) for name, one in found.items()}

    def rooms(self) -> list[str]:
        return [name for name in self.names() if (self.path / name).is_dir()]

    @contextmanager
    def alone(self, name: str, seconds: float) -> Iterator[HeldFile]:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / (f".{name}.lock" if name else ".lock"), timeout=seconds)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(name) from None
        try:
            yield HeldFile()
        finally:
            lock.release()

    def has_drafts(self) -> bool:
        return any(self.path.glob(".*.draft"))

    def remove_drafts(self) -> None:
        for draft in self.path.glob(".*.draft"):
            draft.unlink(missing_ok=True)

    def _no_plain_file(self, name: str) -> NoPlainFileError:
        return NoPlainFileError(f"{self.path / name}: is no plain file")
