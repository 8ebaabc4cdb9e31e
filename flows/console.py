"""Lines that a person sees while a flow runs: our own on standard error, in Prefect's page too; no tool's chatter."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from graftline.errors import GraftlineError

CHATTY = ("great_expectations", "httpx", "alembic", "mlflow", "dvc", "dvc_data", "dvc_objects", "transformers")
# Their tries to reach a server that is away, of which our own line tells.
AWAY = ("urllib3.connectionpool", "prefect.events", "prefect._internal")
FLOW_AND_TASK_RUNS = ("prefect.flow_runs", "prefect.task_runs")


@contextmanager
def show_progress() -> Iterator[None]:
    """Send the lines of the `graftline` loggers where Prefect's own go."""
    from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

    from graftline.tasks.progress import in_prefect

    console = PrefectConsoleHandler(level=logging.INFO)
    # Outside of a run, as where a verb calls the function of a flow, there is no page to write to.
    with _lines_to(console, *([APILogHandler(level=logging.INFO)] if in_prefect() else [])):
        yield


@contextmanager
def plain_progress(name: str = "graftline") -> Iterator[None]:
    """Send the lines of our loggers below this one to standard error: for verbs that are no flows, without Prefect."""
    with _lines_to(logging.StreamHandler(sys.stderr), name=name):
        yield


@contextmanager
def _lines_to(console: logging.Handler, *more: logging.Handler, name: str = "graftline") -> Iterator[None]:
    """Our own lines to these alone, and of the tools' only what is a warning."""
    from graftline.tasks.progress import clear, make_way

    ours = logging.getLogger(name)
    console.setFormatter(logging.Formatter("%(asctime)s | %(message)s", "%H:%M:%S"))
    console.addFilter(make_way)
    levels = {tool: logging.getLogger(tool).level for tool in CHATTY}
    before = ours.level, ours.propagate
    ours.setLevel(logging.INFO)
    ours.propagate = False
    for handler in (console, *more):
        ours.addHandler(handler)
    for tool in CHATTY:
        logging.getLogger(tool).setLevel(logging.WARNING)
    try:
        yield
    finally:
        clear()
        for handler in (console, *more):
            ours.removeHandler(handler)
        ours.setLevel(before[0])
        ours.propagate = before[1]
        for tool, level in levels.items():
            logging.getLogger(tool).setLevel(level)


def hush_tools() -> None:
    """Leave the terminal to our own lines, and the end of it to our own error.

    Prefect's page keeps what Prefect says, though without tracebacks of our errors: their sentence says it all.
    """
    from graftline.tasks.progress import make_way

    # Otherwise a line that a server which is away could not take is told in the middle of ours.
    logging.raiseExceptions = False
    for name in FLOW_AND_TASK_RUNS:
        logging.getLogger(name).addFilter(_without_traceback)
    # Some of Prefect's loggers pass nothing on, and have handlers of their own.
    for name in ("", *AWAY):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_for_a_person)
            handler.addFilter(make_way)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], GraftlineError):
        record.exc_info = None
    return True


def _is_for_a_person(record: logging.LogRecord) -> bool:
    """Not: how Prefect's runs and temporary server begin and end, and warnings that are for whoever writes code."""
    if record.name in FLOW_AND_TASK_RUNS:
        said = record.getMessage()
        # Where a run is shown is worth a line, unless the page ends with the run.
        lasting = "View at " in said and "PREFECT_API_URL" in os.environ
        return lasting or (" - Retry " in said and "exhausted" not in said)
    if record.name == "py.warnings" or record.name.startswith(AWAY):
        return False
    return record.name.partition(".")[0] != "prefect" or record.levelno >= logging.WARNING
