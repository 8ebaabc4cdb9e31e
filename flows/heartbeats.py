"""Heartbeats of a run whose surroundings ask for fewer: the rule that ends lost runs goes by them."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, get_current_settings

from graftline.flows.servers.commands import HEARTBEAT_SECONDS
from graftline.flows.servers.reasons import HEARTBEAT
from graftline.flows.servers.rules import tag_resource


@contextmanager
def beating(run: FlowRun) -> Iterator[None]:
    """While the block runs, tell the server that the run lives, unless Prefect does so as often by its settings."""
    of_prefect = get_current_settings().flows.heartbeat_frequency
    if not PREFECT_API_URL.value() or (of_prefect is not None and of_prefect <= HEARTBEAT_SECONDS):
        yield
        return
    over = threading.Event()
    # The settings of this thread name the server.
    beat = threading.Thread(target=contextvars.copy_context().run, args=(_beat, run, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()


def _beat(run: FlowRun, over: threading.Event) -> None:
    related = [tag_resource(tag) for tag in run.tags]
    while not over.is_set():
        emit_event(HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"}, related=related)
        over.wait(HEARTBEAT_SECONDS)
