"""What a run says of itself again and again: the rules that end lost runs go by it.

In words of our own: Prefect's heartbeats go on for a moment after a run was suspended, and come as seldom as a worker's
settings say.
"""

import contextvars
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.runtime import flow_run as own_run
from prefect.settings import PREFECT_API_URL

from graftline.flows.servers.reasons import HEARTBEAT_SECONDS, LIVES

# The tag on all runs of Graftline, from the moment on when they are made.
OURS = "graftline"
# Of one that a worker took and that gets its project, or waits until nobody works in the clone: that may take hours.
PREPARES = "graftline.run.prepares"

_over: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("over", default=None)


def tag_resource(tag: str) -> dict[str, str]:
    """How an event names a tag of its run."""
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}


@contextmanager
def beating(run: FlowRun) -> Iterator[None]:
    """While the block runs, or until `fall_silent`, tell the server that the run lives."""
    with _saying(LIVES, str(run.id), run.tags) as over:
        before = _over.set(over)
        try:
            yield
        finally:
            _over.reset(before)


def fall_silent() -> None:
    """Say no more that the run lives, and wait until all that was said is sent: it is about to be suspended."""
    if (over := _over.get()) is not None:
        over.set()
        EventsWorker.instance().wait_until_empty()


@contextmanager
def preparing() -> Iterator[None]:
    """While the block runs, tell the server that the run for which this process was started is not lost."""
    if (run := own_run.id) is None:
        yield
        return
    with _saying(PREPARES, run, [OURS]):
        yield


@contextmanager
def _saying(event: str, run: str, tags: Sequence[str]) -> Iterator[threading.Event]:
    """Gives: what ends it when it is set."""
    over = threading.Event()
    if not PREFECT_API_URL.value():
        yield over
        return
    # The settings of this thread name the server.
    voice = threading.Thread(target=contextvars.copy_context().run, args=(_say, event, run, tags, over), daemon=True)
    voice.start()
    try:
        yield over
    finally:
        over.set()


def _say(event: str, run: str, tags: Sequence[str], over: threading.Event) -> None:
    related = [tag_resource(tag) for tag in tags]
    while not over.is_set():
        emit_event(event, resource={"prefect.resource.id": f"prefect.flow-run.{run}"}, related=related)
        over.wait(HEARTBEAT_SECONDS)
