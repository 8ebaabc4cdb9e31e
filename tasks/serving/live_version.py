"""A version's running process (version_process.py) and how it is asked over its socket."""

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from graftline.errors import RegistryRefusedError
from graftline.models.media import Medium
from graftline.models.preprocessing import Raw
from graftline.settings import Kind
from graftline.tasks.serving import from_source, version_process
from graftline.tasks.serving.request_reading import JSON, Reading
from graftline.tasks.serving.version_process import DESCRIPTION, WIDTH
from graftline.wording import ERROR_CHARACTERS, shortened

# MLflow keeps it of every model that was registered with an example, as Graftline's are.
EXAMPLE = "serving_input_example.json"
# A first answer pays for what is loaded late.
CHECK_SECONDS = 120
OK = 200


@dataclass(frozen=True)
class Reply:
    """What the process said to a batch."""

    status: int
    records: Sequence[dict[str, Any]]
    """One answer per input; none if it refused."""
    vectors: npt.NDArray[np.float32] | None
    """(inputs, width)"""
    message: str = ""
    """Why it refused."""


class LiveVersion:
    """A version that can be asked. Made in one thread; `ask` belongs to the event loop that first calls it."""

    def __init__(self, number: int, run_id: str, socket: Path, reading: Reading, *, by_columns: bool) -> None:
        """`by_columns`: whether it takes tables with a named column, as all but the first release's do."""
        self.number, self.run_id, self.reading = number, run_id, reading
        self._socket, self._by_columns = socket, by_columns
        self._client: httpx.AsyncClient | None = None
        self.broken = False
        """Whether it did not answer any more; whoever started it then starts it anew."""

    async def ask(self, inputs: Sequence[Raw], seconds: float) -> Reply:
        """Its answers. Raises: httpx.TransportError if it is gone, or needs longer than this."""
        if self._client is None:
            transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
            self._client = httpx.AsyncClient(transport=transport, base_url="http://version", trust_env=False)
        answer = await self._client.post(
            "/invocations", content=self._body(inputs), headers={"content-type": JSON}, timeout=seconds
        )
        return _reply(answer, len(inputs))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _body(self, inputs: Sequence[Raw]) -> bytes:
        cells = [b64encode(raw.read()).decode() if isinstance(raw, Medium) else raw for raw in inputs]
        if not self._by_columns:
            return json.dumps({"inputs": cells}).encode()
        table = {"columns": [self.reading.column], "data": [[cell] for cell in cells]}
        return json.dumps({"dataframe_split": table}).encode()


def _reply(answer: httpx.Response, inputs: int) -> Reply:
    if answer.status_code != OK:
        return Reply(answer.status_code, (), None, _message(answer.content))
    width = int(answer.headers.get(WIDTH.decode(), 0))
    end = len(answer.content) - 4 * width * inputs
    records = json.loads(answer.content[:end])["predictions"]
    if len(records) != inputs:
        raise ValueError(f"{len(records)} answers to {inputs} inputs")
    vectors = np.frombuffer(answer.content, "<f4", offset=end).reshape(inputs, width) if width else None
    return Reply(OK, records, vectors)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return shortened(content.decode(errors="replace"), ERROR_CHARACTERS)


def command_of(folder: Path, socket: Path, *, threads: int, keep_vectors: bool) -> list[str]:
    """What starts the process of the version in a folder, which answers at the socket."""
    # As a file and not as a module, with no folder of ours on the path: graftline is the model's to import.
    return [
        *(sys.executable, "-P", from_source.__file__, str(folder)),
        *(version_process.__file__, str(folder), str(socket), str(threads), str(keep_vectors)),
    ]


def is_up(socket: Path) -> bool:
    """Whether a process answers there."""
    try:
        with _client(socket) as client:
            return client.get("/ping", timeout=CHECK_SECONDS).status_code == OK
    except httpx.TransportError:
        return False


def checked(what: str, number: int, run_id: str, socket: Path, folder: Path) -> LiveVersion:
    """The version at a socket, once it has answered the example that it was registered with.

    Raises: RegistryRefusedError if it does not, or Graftline did not register it.
    """
    from graftline.tasks.serving.earlier_forms import has_earlier_forms, warn_of_earlier_forms

    is_early = has_earlier_forms(folder)
    try:
        with _client(socket) as client:
            told = client.get(DESCRIPTION, timeout=CHECK_SECONDS).json()
            if not told or not (folder / EXAMPLE).is_file():
                raise RegistryRefusedError(
                    f"{what}: was not registered by `graftline adapt`; serve it with `mlflow models serve`"
                )
            body = (folder / EXAMPLE).read_bytes()
            answer = client.post("/invocations", content=body, headers={"content-type": JSON}, timeout=CHECK_SECONDS)
    except (httpx.TransportError, ValueError) as error:
        raise _unfit(what, str(error) or type(error).__name__) from None
    if answer.status_code != OK:
        raise _unfit(what, f"status {answer.status_code}: {_message(answer.content)}")
    if is_early:
        warn_of_earlier_forms(what)
    kind: Kind = told["kind"]
    return LiveVersion(number, run_id, socket, Reading(kind, told["column"]), by_columns=not is_early)


def _client(socket: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://version", trust_env=False)


def _unfit(what: str, said: str) -> RegistryRefusedError:
    return RegistryRefusedError(
        f"{what}: does not answer the example that it was registered with"
        f" ({shortened(' '.join(said.split()), ERROR_CHARACTERS)}); see its log, or make another version the champion"
    )
