"""Clients that ask a server over and over, each on a connection of its own, and what they saw."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request, as its client saw it; times in seconds of the monotonic clock."""

    began: float
    ended: float
    asked: bytes
    status: int
    version: int | None
    body: bytes

    @property
    def answer(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


@dataclass
class Crowd:
    """Clients that ask until told to stop."""

    port: int
    bodies: Sequence[bytes]
    """What they ask, each client beginning at another one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests that got no answer at all."""
    stopped: bool = False

    async def ask(self, clients: int, done: Callable[[], bool] = lambda: False) -> None:
        """Ask with so many clients until `stopped` or `done`."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(number, done))

    async def _client(self, number: int, done: Callable[[], bool]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        place = number
        while not (self.stopped or done()):
            body = self.bodies[place % len(self.bodies)]
            place += 1
            try:
                self.seen.append(await _asked(reader, writer, body, self.headers))
            except (OSError, asyncio.IncompleteReadError) as error:
                if self.stopped:
                    return
                self.lost.append(repr(error))
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, headers: Mapping[str, str]
) -> Seen:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    began = time.monotonic()
    writer.write(
        f"POST /invocations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{more}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    told = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    content = await reader.readexactly(int(told["content-length"]))
    version = told.get("x-graftline-version")
    return Seen(began, time.monotonic(), body, int(head[0].split()[1]), int(version) if version else None, content)
