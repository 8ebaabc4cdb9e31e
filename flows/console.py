"""Lines that a person sees while a flow runs: our own on standard error, in Prefect's page too; no tool's chatter."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from graftline.errors import GraftlineError

CHATTY = ("great_expectations", "httpx", "alembic", "mlflow", "dvc", "dvc_data", "dvc_objects", "transformers")


@contextmanager
def show_progress() -> Iterator[None]:
    """Inside a flow: send the lines of the `graftline` loggers where Prefect's own go."""
    from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

    ours = logging.getLogger("graftline")
    console = PrefectConsoleHandler(level=logging.INFO)
    console.setFormatter(logging.Formatter("%(asctime)s | %(message)s", "%H:%M:%S"))
    handlers: list[logging.Handler] = [console, APILogHandler(level=logging.INFO)]
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    before = ours.level, ours.propagate
    ours.setLevel(logging.INFO)
    ours.propagate = False
    for handler in handlers:
        ours.addHandler(handler)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler in handlers:
            ours.removeHandler(handler)
        ours.setLevel(before[0])
        ours.propagate = before[1]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def hide_tracebacks() -> None:
    """Leave Prefect's lines about an error of ours without their traceback: its one sentence says it all."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], GraftlineError):
        record.exc_info = None
    return True
