"""A history in a bucket: machines that come, go, stop and race decide about a model as processes of one folder do."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest import mock

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, ServerAwayError
from graftline.tasks.registry import carrying_out, history, promotion
from graftline.tasks.registry.history import marks, place_of, read_history
from graftline.tasks.registry.ownership import require_own_history
from graftline.tasks.registry.promotion import promote, rollback
from graftline.tasks.registry.verification import verify
from graftline.tasks.state import lease
from graftline.tasks.state.lease import own_process
from graftline.tasks.state.shared import STATE
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, RegistryState, Verdict, move_by_hand, register, state_of
from tests.support.servers import S3Server, client_of, free_ports, running_s3
from tests.tasks.registry.test_promotion_races import (
    FORK,
    NEW,
    OLD,
    RECORDED,
    answers_of,
    connect_anew,
    promote_and_be_killed,
    promote_second,
)

pytestmark = pytest.mark.full

BUCKET, WAIT_SECONDS = "team", 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        client_of(running).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(autouse=True)
def _state(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(STATE, f"s3://{BUCKET}/{tmp_path.name}")
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


@pytest.fixture
def other(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A second clone at the same registry."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root}/mlflow/mlflow.db")
    clone = Workspace(tmp_path / "clone")
    clone.root.mkdir()
    return clone


def test_a_second_clone_knows_and_continues_the_history(workspace: Workspace, other: Workspace) -> None:
    require_own_history(workspace, MODEL)
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "here")
    require_own_history(other, MODEL)
    promote(other, MODEL, 2, "there")
    rollback(workspace, MODEL, "here again")
    assert state_of(workspace).champion == 1
    assert [record.why for record in read_history(other, MODEL) if record.moves] == ["here", "there", "here again"]
    assert verify(other, MODEL).findings == ()
    assert not any((root / "mlflow" / "history").exists() for root in (workspace.root, other.root))


def test_a_clone_without_the_state_is_told_what_to_do(
    workspace: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_own_history(workspace, MODEL)
    register(workspace, "PROMOTE")
    monkeypatch.delenv(STATE)
    with pytest.raises(RegistryRefusedError, match=r"set GRAFTLINE_STATE as it is set there.*graftline move-history"):
        require_own_history(other, MODEL)


@pytest.mark.parametrize(
    ("step", "left", "mended"),
    [
        ("graftline.tasks.registry.carrying_out.write_record", OLD, OLD),
        ("graftline.tasks.registry.carrying_out.note_newest", RECORDED, NEW),
        ("graftline.tasks.registry.carrying_out.set_champion", RECORDED, NEW),
        ("graftline.tasks.registry.carrying_out.note_carried_out", NEW, NEW),
    ],
)
def test_a_promotion_killed_at_any_step_is_mended_by_the_next_command_on_another_machine(
    workspace: Workspace, other: Workspace, step: str, left: RegistryState, mended: RegistryState
) -> None:
    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    process = FORK.Process(target=promote_and_be_killed, args=(workspace.root, step))
    process.start()
    process.join(WAIT_SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert state_of(workspace) == left
    promotion.history(other, MODEL)
    assert state_of(other) == mended
    assert set(marks(other, MODEL)) == {record.number for record in read_history(other, MODEL)}
    assert verify(other, MODEL).findings == ()


def test_promotions_at_once_end_in_one_champion(workspace: Workspace) -> None:
    passed: list[Verdict] = ["PROMOTE"] * 9
    register(workspace, *passed)
    promote(workspace, MODEL, 1, "a test")
    answers = answers_of(workspace, 8)
    (winner,) = (version for version, said in answers.items() if not said)
    assert state_of(workspace) == RegistryState(winner, (("promote", None, 1), ("promote", 1, winner)))
    assert verify(workspace, MODEL).findings == ()


def promote_slowly(root: Path, stopped: Event, said: Event) -> None:
    """A machine that sleeps between the record and the alias: its clock goes on, it does not."""
    workspace = connect_anew(root)
    write = history.write_record

    def write_then_sleep(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        stopped.set()
        os.kill(os.getpid(), signal.SIGSTOP)

    with mock.patch.object(carrying_out, "write_record", write_then_sleep):
        try:
            promote(workspace, MODEL, 2, "asleep")
        except RegistryRefusedError as error:
            if "was paused for so long" in str(error):
                said.set()


def test_a_machine_that_slept_while_another_one_went_on_moves_nothing(
    workspace: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen from another machine: nobody there can tell that the process is only stopped.
    monkeypatch.setattr(lease, "own_process", lambda: {**own_process(), "boot": "another"})
    monkeypatch.setattr(lease, "SURE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 3.0)
    register(workspace, "PROMOTE", "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    stopped, said = FORK.Event(), FORK.Event()
    process = FORK.Process(target=promote_slowly, args=(workspace.root, stopped, said))
    process.start()
    assert stopped.wait(WAIT_SECONDS)
    assert process.pid is not None
    try:
        promote(other, MODEL, 3, "awake")  # finishes the other promotion first
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.join(WAIT_SECONDS)
    assert said.is_set()
    moves = (("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3))
    assert state_of(other) == RegistryState(3, moves)
    assert verify(other, MODEL).findings == ()


def test_an_alias_that_was_moved_by_hand_is_reported_and_stays(
    workspace: Workspace, other: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    move_by_hand(2)
    promotion.history(other, MODEL)
    assert "moved outside of Graftline" in caplog.text
    assert state_of(other).champion == 2


def test_a_removed_and_an_edited_record_are_named_with_their_place(
    workspace: Workspace, server: S3Server, tmp_path: Path
) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    client = client_of(server)
    prefix = f"{tmp_path.name}/history/{MODEL}"
    content = client.get_object(Bucket=BUCKET, Key=f"{prefix}/000002.json")["Body"].read()
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/000002.json", Body=content.replace(b"PROMOTE", b"PROMOTF"))
    with pytest.raises(RegistryRefusedError, match=rf"^{place_of(workspace, MODEL)}/000003.json: does not follow on"):
        read_history(workspace, MODEL)
    assert [str(found) for found in verify(workspace, MODEL).findings]
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/000002.json")
    with pytest.raises(RegistryRefusedError, match=r"000003\.json: does not follow on record 1"):
        read_history(workspace, MODEL)


def test_a_server_that_is_away_is_told_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    register(workspace, "PROMOTE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    began = time.monotonic()
    with pytest.raises(ServerAwayError, match=r"GRAFTLINE_STATE=s3://team/.*no S3 server answers"):
        promote(workspace, MODEL, 1, "a test")
    assert time.monotonic() - began < WAIT_SECONDS


def test_what_is_promoted_is_promoted_once_though_the_answer_to_the_write_was_lost(workspace: Workspace) -> None:
    """The server wrote the record, and its answer never came."""
    from graftline.tasks.state.bucket import Bucket

    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    write, lost = Bucket.write_once, list[str]()

    def write_and_lose(self: Bucket, name: str, content: bytes) -> bool:
        written = write(self, name, content)
        if name.endswith(".json") and not lost:
            lost.append(name)
            raise ServerAwayError("the answer was lost")
        return written

    with mock.patch.object(Bucket, "write_once", write_and_lose):
        promote_second(workspace.root)
    connect(workspace)
    assert lost
    assert replace(state_of(workspace)) == NEW
    assert MlflowClient().get_model_version_by_alias(MODEL, "champion").version in ("2", 2)
