"""A room on a disk, which several processes and, through a file server, several machines may share."""

import errno
import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from graftline.files import sync_folder, write_atomically
from graftline.tasks.state.room import Kept, NoPlainFileError

# Nobody waits at a pipe that lies in the place of a file.
READ_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What the system says of a link, and of a socket.
NO_FILE_TO_OPEN = (errno.ELOOP, errno.ENXIO)
# Held while files are replaced: a file system has no verb that compares first.
REPLACING = ".replacing.lock"


@dataclass(frozen=True)
class Folder:
    """A room in a folder, which is made when something is written. Names with a dot in front are its own."""

    path: Path

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

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))

    def has_drafts(self) -> bool:
        """Whether a killed writer left something."""
        return any(self.path.glob(".*.draft"))

    def remove_drafts(self) -> None:
        """Remove what killed writers left. Only while no one else writes."""
        for draft in self.path.glob(".*.draft"):
            draft.unlink(missing_ok=True)

    def _no_plain_file(self, name: str) -> NoPlainFileError:
        return NoPlainFileError(f"{self.path / name}: is no plain file")
