"""Promotions at once end in one champion; a promotion killed at any step leaves the old or the new state."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest import mock

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import manifest, promotion
from graftline.tasks.registry.history import history_folder, marks, read_history
from graftline.tasks.registry.promotion import promote, record_verdict
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import VERDICT
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, RegistryState, Verdict, register, state_of

pytestmark = pytest.mark.full

FORK = multiprocessing.get_context("fork")
WAIT_SECONDS = 120

OLD = RegistryState(1, (("promote", None, 1),))
RECORDED = RegistryState(1, (("promote", None, 1), ("verdict", 1, 2)))
NEW = RegistryState(2, (("promote", None, 1), ("verdict", 1, 2)))


def connect_anew(root: Path) -> Workspace:
    """In a forked process: another spelling of the same store, as a connection must not be shared with the parent."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow/./mlflow.db"
    workspace = Workspace(root)
    connect(workspace)
    return workspace


def promote_second(root: Path) -> None:
    """Version 2 gets its verdict and becomes champion."""
    record_verdict(
        connect_anew(root), MODEL, version=2, verdict="PROMOTE", reasons=("better",), rival=1, evaluation_sha256="e",
        policy_sha256="p",
    )  # fmt: skip


def promote_and_be_killed(root: Path, step: str) -> None:
    """Promote in this process, which is gone the moment that it comes to `step`."""

    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch(step, kill):
        promote_second(root)
    kill()


@pytest.mark.parametrize(
    ("step", "left", "mended"),
    [
        ("graftline.tasks.registry.carrying_out.announce", OLD, OLD),
        ("graftline.tasks.registry.carrying_out.write_record", OLD, OLD),
        ("os.link", OLD, OLD),
        ("pathlib.Path.unlink", RECORDED, NEW),
        ("graftline.tasks.state.folder.sync_folder", RECORDED, NEW),
        ("graftline.tasks.registry.carrying_out.note_newest", RECORDED, NEW),
        ("graftline.tasks.registry.carrying_out.set_champion", RECORDED, NEW),
        ("graftline.tasks.registry.versions.champion_of", NEW, NEW),  # when the alias is read back
        ("graftline.tasks.registry.carrying_out.note_verdict", NEW, NEW),
        ("graftline.tasks.registry.carrying_out.note_carried_out", NEW, NEW),
        # Never comes to it: killed when all is done.
        ("tests.tasks.registry.test_promotion_races.WAIT_SECONDS", NEW, NEW),
    ],
)
def test_a_promotion_killed_at_any_step_leaves_the_old_or_the_new_champion_and_is_mended_by_the_next_command(
    workspace: Workspace, step: str, left: RegistryState, mended: RegistryState
) -> None:
    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    process = FORK.Process(target=promote_and_be_killed, args=(workspace.root, step))
    process.start()
    process.join(WAIT_SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert state_of(workspace) == left
    assert verify(workspace, MODEL).findings == ()

    promotion.history(workspace, MODEL)
    records = read_history(workspace, MODEL)
    assert state_of(workspace) == mended
    assert set(marks(workspace, MODEL)) == {record.number for record in records}
    assert not list(history_folder(workspace, MODEL).glob(".*.draft"))
    assert MlflowClient().get_model_version(MODEL, "2").tags.get(VERDICT) == ("PROMOTE" if mended == NEW else None)
    proof = verify(workspace, MODEL)
    assert (proof.findings, proof.unfinished) == ((), False)

    if mended == OLD:
        promote_second(workspace.root)
    assert state_of(workspace) == NEW


def promote_at_once(root: Path, version: int, ready: Barrier, said: "SimpleQueue[tuple[int, str]]") -> None:
    """Promote, together with all others that have chosen their version by now."""
    move = promotion._move

    def wait_then_move(*arguments: object, **named: object) -> object:
        ready.wait(WAIT_SECONDS)
        return move(*arguments, **named)  # type: ignore[arg-type]

    workspace = connect_anew(root)
    with mock.patch.object(promotion, "_move", wait_then_move):
        try:
            promote(workspace, MODEL, version, f"process {version}")
        except RegistryRefusedError as error:
            said.put((version, str(error)))
        else:
            said.put((version, ""))


def answers_of(workspace: Workspace, promoters: int) -> dict[int, str]:
    """What each of the promoters was told: nothing if it won."""
    ready, said = FORK.Barrier(promoters), FORK.SimpleQueue()
    run: Callable[..., None] = promote_at_once
    processes = [
        FORK.Process(target=run, args=(workspace.root, version, ready, said)) for version in range(2, promoters + 2)
    ]
    for process in processes:
        process.start()
    answers = dict(said.get() for _ in processes)
    for process in processes:
        process.join()
    return answers


@pytest.mark.parametrize("promoters", [4, pytest.param(50, marks=pytest.mark.long)])
def test_promotions_at_once_end_in_one_champion_and_refusals_that_say_why(workspace: Workspace, promoters: int) -> None:
    passed: list[Verdict] = ["PROMOTE"] * (promoters + 1)
    register(workspace, *passed)
    promote(workspace, MODEL, 1, "a test")
    answers = answers_of(workspace, promoters)
    (winner,) = (version for version, said in answers.items() if not said)
    for version, said in answers.items():
        assert version == winner or said == (
            f"tiny: the champion is version {winner} by now, not version 1 as when version {version} was chosen; see"
            " `graftline history tiny`, then run the same command again"
        )
    assert state_of(workspace) == RegistryState(winner, (("promote", None, 1), ("promote", 1, winner)))
    assert verify(workspace, MODEL).findings == ()


def test_a_promotion_between_reading_the_records_and_the_registrys_note_is_no_removed_record(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")

    def read_then_promote(where: Workspace, name: str) -> list[Record]:
        records = read_history(where, name)
        monkeypatch.setattr(manifest, "read_history", read_history)
        promote(workspace, MODEL, 2, "somebody else")
        return records

    monkeypatch.setattr(manifest, "read_history", read_then_promote)
    manifest.judged_files(workspace, MODEL, 1)
    assert state_of(workspace).champion == 2
