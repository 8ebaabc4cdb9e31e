"""What one machine served, another one reads, if they share a state."""

import threading
from datetime import date
from functools import partial
from pathlib import Path

import pytest

from graftline.settings.serving import ServedLog
from graftline.tasks.serving import shared_log
from graftline.tasks.serving.request_log import RequestLog, read_served, served_folder
from graftline.tasks.serving.shared_log import bring
from graftline.tasks.state.shared import STATE
from graftline.tasks.workspace import Workspace
from tests.support.running_project import wait_until
from tests.tasks.serving.test_request_log import EVER, answers


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Workspace]:
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return Workspace(tmp_path / "first"), Workspace(tmp_path / "second")


def serve(workspace: Workspace, *ids: str) -> None:
    log = RequestLog(served_folder(workspace, "m"), ServedLog())
    assert log.offer(answers(*ids))
    log.close()


def _has_logged(log: RequestLog, rows: int) -> bool:
    return log.logged == rows


def ids(workspace: Workspace) -> list[str]:
    return sorted(read_served(workspace, "m", *EVER).column("id").to_pylist())


def test_what_one_machine_served_the_other_one_reads(machines: tuple[Workspace, Workspace]) -> None:
    serve(machines[0], "a", "b")
    serve(machines[1], "c")
    assert [ids(one) for one in machines] == [["a", "b", "c"]] * 2


def test_what_could_not_be_sent_is_sent_with_the_next(
    machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv(STATE)
        serve(machines[0], "a")
    assert ids(machines[1]) == []
    serve(machines[0], "b")
    assert ids(machines[1]) == ["a", "b"]


def test_a_state_that_does_not_answer_delays_no_row(
    machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_again = threading.Event()
    send = shared_log.send

    def slowly(file: Path) -> None:
        answers_again.wait(60)
        send(file)

    monkeypatch.setattr(shared_log, "send", slowly)
    log = RequestLog(served_folder(machines[0], "m"), ServedLog(flush_seconds=0.01))
    for number in range(3):
        log.offer(answers(str(number)))
        wait_until(partial(_has_logged, log, number + 1))
    answers_again.set()
    log.close()
    assert ids(machines[1]) == ["0", "1", "2"]


def test_only_the_days_that_are_asked_for_are_brought(machines: tuple[Workspace, Workspace]) -> None:
    serve(machines[0], "a")
    folder = served_folder(machines[1], "m")
    bring(folder, date(2000, 1, 1), date(2000, 12, 31))
    assert not list(folder.rglob("*.parquet"))


def test_without_a_state_nothing_leaves_the_machine(
    machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(STATE)
    monkeypatch.setattr(shared_log, "send", pytest.fail)
    serve(machines[0], "a")
    assert not (tmp_path / "state").exists()
    assert ids(machines[0]) == ["a"]
