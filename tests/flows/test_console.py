"""In the terminal stands what a person wants to read; Prefect's page keeps the rest."""

import logging
import subprocess
import sys

import pytest

from graftline.flows.console import _is_for_a_person, plain_progress


def said(name: str, message: str, level: int = logging.INFO) -> bool:
    return _is_for_a_person(logging.LogRecord(name, level, "", 0, message, None, None))


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [("prefect", logging.INFO, "Starting temporary server on http://127.0.0.1:8377"),
     ("prefect.flow_runs", logging.ERROR, "Encountered exception during execution: DataRefusedError('no')"),
     ("prefect.task_runs", logging.ERROR, "Task run failed with exception: ... - Retries are exhausted"),
     ("prefect.task_runs", logging.INFO, "Finished in state Completed()"),
     ("py.warnings", logging.WARNING, "UserWarning: Add type hints")],
)  # fmt: skip
def test_how_runs_and_servers_of_prefect_begin_and_end_is_not_said(name: str, level: int, message: str) -> None:
    assert not said(name, message, level)


def test_another_try_and_warnings_of_prefect_itself_are_said() -> None:
    assert said("prefect.task_runs", "Task run failed with exception: ... - Retry 1/3 will start 2 second(s) from now")
    assert said("prefect.client", "the server does not answer", logging.WARNING)
    assert said("graftline.fine_tune", "epoch 1")


def test_verbs_that_are_no_flows_say_our_own_lines_on_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    ours, before = logging.getLogger("graftline"), logging.getLogger("graftline").handlers[:]
    with plain_progress():
        logging.getLogger("graftline.fetch_model").info("fetching")
        logging.getLogger("mlflow.store").info("creating tables")
    logging.getLogger("graftline.fetch_model").info("afterwards")
    said = capsys.readouterr()
    assert [line.partition(" | ")[2] for line in said.err.splitlines()] == ["fetching"]
    assert (said.out, ours.handlers) == ("", before)


def test_the_address_of_a_run_is_said_where_it_outlives_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    view = "View at http://127.0.0.1:4200/runs/flow-run/1"
    assert not said("prefect.flow_runs", view)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert said("prefect.flow_runs", view)


EVENTS_WITHOUT_SERVER = """
import logging
from prefect.logging.configuration import setup_logging
from graftline.flows.console import hush_tools
setup_logging()
hush_tools()
logging.getLogger("prefect._internal.concurrency").error("Service 'EventsWorker' failed", stack_info=True)
logging.getLogger("prefect.client").warning("something else")
"""


def test_what_prefect_could_not_send_to_a_server_that_is_away_is_not_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVENTS_WITHOUT_SERVER], capture_output=True, text=True, check=True, timeout=300
    )
    assert "EventsWorker" not in done.stderr
    assert "something else" in done.stderr
