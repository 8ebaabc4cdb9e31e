"""What a run says of itself again and again: the rules that end lost runs go by it."""

import contextvars
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.runtime import flow_run as own_run
from prefect.settings import PREFECT_API_URL, get_current_settings

from graftline.flows.servers.commands import HEARTBEAT_SECONDS
from graftline.flows.servers.reasons import HEARTBEAT

# The tag on all runs of Graftline, from the moment on when they are made.
OURS = "graftline"
# Of one that a worker took and that gets its project, or waits until nobody works in the clone: that may take hours.
PREPARES = "graftline.run.prepares"


def tag_resource(tag: str) -> dict[str, str]:
    """How an event names a tag of its run."""
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}


@contextmanager
def beating(run: FlowRun) -> Iterator[None]:
    """While the block runs, tell the server that the run lives, unless Prefect does so as often by its settings."""
    of_prefect = get_current_settings().flows.heartbeat_frequency
    if of_prefect is not None and of_prefect <= HEARTBEAT_SECONDS:
        yield
        return
    with _saying(HEARTBEAT, str(run.id), run.tags):
        yield


@contextmanager
def preparing() -> Iterator[None]:
    """While the block runs, tell the server that the run for which this process was started is not lost."""
    if (run := own_run.id) is None:
        yield
        return
    with _saying(PREPARES, run, [OURS]):
        yield


@contextmanager
def _saying(event: str, run: str, tags: Sequence[str]) -> Iterator[None]:
    if not PREFECT_API_URL.value():
        yield
        return
    over = threading.Event()
    # The settings of this thread name the server.
    voice = threading.Thread(target=contextvars.copy_context().run, args=(_say, event, run, tags, over), daemon=True)
    voice.start()
    try:
        yield
    finally:
        over.set()


def _say(event: str, run: str, tags: Sequence[str], over: threading.Event) -> None:
    related = [tag_resource(tag) for tag in tags]
    while not over.is_set():
        emit_event(event, resource={"prefect.resource.id": f"prefect.flow-run.{run}"}, related=related)
        over.wait(HEARTBEAT_SECONDS)
