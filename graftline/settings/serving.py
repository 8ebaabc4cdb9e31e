"""How a registered model is served: limits, batches, what is kept of an answer. Read from `mlflow/serving.yaml`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from graftline.settings.reading import read_section
from graftline.settings.sections import Section

SERVING = "mlflow/serving.yaml"
MEBIBYTE = 2**20
# A name, an address of IPv4, or one of IPv6 as the header has it.
HOST = r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])$"

Kept = Literal["digest", "facts", "features", "input"]
KEPT: tuple[Kept, ...] = ("digest", "facts", "features", "input")


class RequestLimits(Section):
    """What a server in front of a model takes. The model has limits of its own beside these."""

    body_mebibytes: Annotated[int, Field(ge=1, le=1024)] = 16
    """The largest body of a request. A larger one is refused with status 413 as soon as that is known."""
    depth: Annotated[int, Field(ge=4, le=200)] = 16
    """How deep lists and mappings may lie in each other. Deeper JSON is refused with 400 before it is parsed; the
    deepest form that a model takes has 4."""
    inputs: Annotated[int, Field(ge=1, le=1000)] = 1000
    """How many inputs one request may hold; more are refused with 400."""
    seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a request may take: 408 if its body did not come by then, 503 if it still waited for its turn, 504 if it
    was being answered. A model that needs twice as long for one batch is ended and started anew."""
    requests: Annotated[int, Field(ge=1, le=10_000)] = 256
    """How many requests may be there at once, waiting or being answered. Further ones get 503 with Retry-After."""
    bodies_mebibytes: Annotated[int, Field(ge=1, le=65_536)] = 256
    """How large the bodies of all of these may be together. Further ones get 503 with Retry-After."""


class Batching(Section):
    """How requests that come at once are answered together."""

    inputs: Annotated[int, Field(ge=1, le=1000)] = 8
    """The most inputs that the model is asked at once. A batch is whatever waits when the model becomes free, so that
    no request waits for others; 1 turns batching off. More brings hardly anything on a processor, and has those who
    came first wait for those who came last."""


class ServedLog(Section):
    """What is kept of each answer, in artifacts/served/MODEL, one row per input."""

    keeps: Kept = "features"
    """How much of an input. digest: its sha256 and nothing else. facts: also length, size and the like. features: also
    the numbers that the model's head reads, from which something of the input may be guessed. input: also the input
    itself."""
    flush_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long rows wait in memory for the next file at most. A kill loses those; SIGTERM and Ctrl-C lose none."""
    keep_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """Days after which a day's files are removed. Empty: never."""


class Serving(Section):
    """How a model is served."""

    limits: RequestLimits = RequestLimits()
    batching: Batching = Batching()
    log: ServedLog = ServedLog()
    hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = ("127.0.0.1", "localhost", "[::1]")
    """The names by which the server may be asked, without port, an address of IPv6 in brackets. A request for another
    one (Host) gets 400, so that no web page can give its own name this machine's address."""


def read_serving(path: Path) -> Serving:
    """The settings in a file; without the file the defaults.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return read_section(path, Serving, such_as="limits", verb="serving")
