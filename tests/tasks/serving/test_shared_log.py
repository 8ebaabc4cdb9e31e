"""What one machine served, another one reads, if they share a state."""

from datetime import date
from pathlib import Path

import pytest

from graftline.settings.serving import ServedLog
from graftline.tasks.serving import request_log
from graftline.tasks.serving.request_log import RequestLog, read_served, served_folder
from graftline.tasks.serving.shared_log import bring
from graftline.tasks.state.shared import STATE
from graftline.tasks.workspace import Workspace
from tests.tasks.serving.test_request_log import EVER, answers


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Workspace]:
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return Workspace(tmp_path / "first"), Workspace(tmp_path / "second")


def serve(workspace: Workspace, *ids: str) -> None:
    log = RequestLog(served_folder(workspace, "m"), ServedLog())
    assert log.offer(answers(*ids))
    log.close()


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


def test_only_the_days_that_are_asked_for_are_brought(machines: tuple[Workspace, Workspace]) -> None:
    serve(machines[0], "a")
    folder = served_folder(machines[1], "m")
    bring(folder, date(2000, 1, 1), date(2000, 12, 31))
    assert not list(folder.rglob("*.parquet"))


def test_without_a_state_nothing_leaves_the_machine(
    machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(STATE)
    monkeypatch.setattr(request_log, "send", pytest.fail)
    serve(machines[0], "a")
    assert not (tmp_path / "state").exists()
    assert ids(machines[0]) == ["a"]
