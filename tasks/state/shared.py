"""Where a team's state lies, if it is not in the project folder: one address for all machines."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from graftline.errors import ServerAwayError, SettingsError
from graftline.tasks.patience import Server, until_there
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.room import Held, Kept, Lying, Reader, Room

STATE = "GRAFTLINE_STATE"
SCHEME = "s3://"
# As often as this a request is lost while the server says that it lives.
LOST_REQUESTS = 3
# Asking for it tells whether the server answers, writing it whether one may.
PROBE = "probe"

Value = TypeVar("Value")


def shared_state() -> "State | None":
    """What `GRAFTLINE_STATE` names; None where all lies in the project folder.

    Raises: SettingsError if it is neither the absolute path of a folder nor an address in a bucket.
    """
    address = os.environ.get(STATE, "").strip()
    return State(_checked(address)) if address else None


@dataclass(frozen=True)
class State:
    """The folders of small and large files below one address."""

    address: str
    """The path of a folder, or s3://BUCKET/PREFIX."""

    def room(self, *names: str) -> Room:
        """A room by its name, and those that it lies in."""
        if not self.address.startswith(SCHEME):
            return Folder(Path(self.address).joinpath(*names))
        from graftline.tasks.state.bucket import open_bucket

        address = "/".join([self.address.rstrip("/"), *names])
        return PatientRoom(open_bucket(address), open_bucket(self.address))


@dataclass(frozen=True)
class PatientRoom:
    """A room at a server. A run that has begun waits for it; anything else is told at once that it is away."""

    room: Room
    top: Room

    def where(self, name: str) -> str:
        return self.room.where(name)

    def read(self, name: str) -> Kept | None:
        return self._ask(lambda: self.room.read(name))

    def read_ahead(self, names: Sequence[str]) -> Reader:
        return self._ask(lambda: self.room.read_ahead(names))

    def write_once(self, name: str, content: bytes) -> bool:
        return self._write(name, content, lambda: self.room.write_once(name, content))

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        return self._write(name, content, lambda: self.room.replace(name, content, known=known))

    def upload(self, name: str, path: Path) -> None:
        self._ask(lambda: self.room.upload(name, path))

    def download(self, name: str, path: Path) -> bool:
        return self._ask(lambda: self.room.download(name, path))

    def remove(self, name: str) -> None:
        self._ask(lambda: self.room.remove(name))

    def names(self) -> list[str]:
        return self._ask(self.room.names)

    def age(self, name: str) -> float | None:
        return self._ask(lambda: self.room.age(name))

    def lying(self) -> dict[str, Lying]:
        return self._ask(self.room.lying)

    def rooms(self) -> list[str]:
        return self._ask(self.room.rooms)

    def alone(self, name: str, seconds: float) -> AbstractContextManager[Held]:
        from graftline.tasks.state.lease import leased

        # Whoever has it says so to the server itself: that must not wait.
        return leased(self.room, name, seconds, looks=self)

    def has_drafts(self) -> bool:
        return self.room.has_drafts()

    def remove_drafts(self) -> None:
        self.room.remove_drafts()

    def _write(self, name: str, content: bytes, write: Callable[[], bool]) -> bool:
        """One whose answer was lost is known by its content."""
        asked: list[str] = []

        def ask() -> bool:
            asked.append(name)
            if write():
                return True
            return len(asked) > 1 and (kept := self.room.read(name)) is not None and kept.content == content

        return self._ask(ask)

    def _ask(self, ask: Callable[[], Value]) -> Value:
        lost = 0
        while True:
            try:
                return ask()
            except ServerAwayError:
                lost += 1
                if lost > LOST_REQUESTS:
                    raise
                until_there(self._server)

    @property
    def _server(self) -> Server:
        return Server(
            "S3", f"{STATE}={self.top.where('')}", otherwise="to keep all in the project folder", fault=self._fault
        )

    def _fault(self) -> str | None:
        try:
            self.top.read(PROBE)
        except ServerAwayError as error:
            return str(error)
        return None


def _checked(address: str) -> str:
    if address.startswith(SCHEME):
        from graftline.tasks.state.bucket import is_bucket

        if is_bucket(address):
            return address
    elif Path(address).is_absolute():
        return address
    raise SettingsError(
        f"{STATE}={address}: is no place for state, expected the absolute path of a folder that all machines share, or"
        " s3://BUCKET/PREFIX; correct it, or unset it to keep all in the project folder"
    )
