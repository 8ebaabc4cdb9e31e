"""An alias on MLflow's page asks the gate, which answers there; a champion that went past it is told."""

from collections.abc import Sequence
from typing import NoReturn

import pytest
from mlflow import MlflowClient

from graftline.errors import ServerAwayError
from graftline.flows import attend as attending
from graftline.flows.attend import attend
from graftline.flows.servers.services import StopRequested
from graftline.tasks.registry import carrying_out, requests
from graftline.tasks.registry.promotion import promote
from graftline.tasks.registry.requests import ANSWER, REQUESTED, Seen, look_at
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import champion_of
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, move_by_hand, register


def ask(version: int) -> None:
    MlflowClient().set_registered_model_alias(MODEL, REQUESTED, str(version))


def description(version: int) -> str:
    return str(MlflowClient().get_model_version(MODEL, str(version)).description)


def aliases() -> Sequence[str]:
    return sorted(MlflowClient().get_registered_model(MODEL).aliases)


def test_what_the_gate_lets_pass_is_promoted_and_the_page_says_so(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    MlflowClient().update_model_version(MODEL, "2", "What a person wrote.")
    ask(2)
    seen = look_at(workspace, MODEL)
    assert seen.answered is not None
    assert seen.answered.startswith("promoted, record 4 of ")
    assert champion_of(MODEL) == 2
    assert description(2) == f"What a person wrote.\n\n{ANSWER}: {seen.answered}"
    assert aliases() == ["champion"]
    assert verify(workspace, MODEL).findings == ()
    assert look_at(workspace, MODEL) == Seen()


def test_what_it_held_stays_where_it_is_and_the_page_says_why(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "HOLD")
    promote(workspace, MODEL, 1, "a test")
    for _ in range(2):
        ask(2)
        assert look_at(workspace, MODEL).answered is not None
    assert champion_of(MODEL) == 1
    assert description(2).startswith(f"{ANSWER}: refused: tiny version 2: has the verdict HOLD, expected PROMOTE")
    assert description(2).count(ANSWER) == 1  # the newest answer alone
    assert aliases() == ["champion"]


def test_a_champion_that_was_moved_by_hand_is_told_and_stays(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    assert look_at(workspace, MODEL) == Seen()
    move_by_hand(2)
    moved = look_at(workspace, MODEL).moved
    assert moved is not None
    assert moved.startswith("tiny: the champion is version 2, but by record 2 version 1: somebody moved it outside")
    assert champion_of(MODEL) == 2


def test_a_first_champion_that_was_made_by_hand_is_told(workspace: Workspace) -> None:
    register(workspace, "HOLD")
    move_by_hand(1)
    moved = look_at(workspace, MODEL).moved
    assert moved is not None
    assert moved.startswith("tiny: the champion is version 1, but by the history none: somebody moved it outside")


def test_a_promotion_that_a_kill_left_unfinished_is_finished_and_nobody_is_blamed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    with monkeypatch.context() as patch:
        patch.setattr(carrying_out, "set_champion", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            promote(workspace, MODEL, 2, "killed")
    assert look_at(workspace, MODEL) == Seen()
    assert champion_of(MODEL) == 2


def test_a_registry_that_only_mlflows_own_client_can_ask_is_looked_at_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/etc/ssl/of-the-team.pem")
    register(workspace, "PROMOTE")
    ask(1)
    assert look_at(workspace, MODEL).answered is not None
    assert champion_of(MODEL) == 1


def test_a_request_is_kept_where_a_server_is_away(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> NoReturn:
        raise ServerAwayError("S3 does not answer")

    register(workspace, "PROMOTE")
    ask(1)
    with monkeypatch.context() as patch:
        patch.setattr(requests, "promote", away)
        with pytest.raises(ServerAwayError):
            look_at(workspace, MODEL)
    assert look_at(workspace, MODEL).answered is not None
    assert champion_of(MODEL) == 1


def test_a_model_that_is_not_there_is_nothing_to_tell(workspace: Workspace) -> None:
    assert look_at(workspace, "none") == Seen()
    assert look_at(workspace, "../none") == Seen()


def test_it_is_told_once_however_often_it_is_looked_at(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)
    register(workspace, "PROMOTE", None)
    promote(workspace, MODEL, 1, "a test")
    move_by_hand(2)
    looks, said = list[str](), list[str]()

    def look(where: Workspace, name: str) -> Seen:
        looks.append(name)
        if len(looks) == 4:
            raise StopRequested
        return look_at(where, name)

    monkeypatch.setattr(attending, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(attending, "look_at", look)
    attend([MODEL], once=False, say=said.append)
    assert len(said) == 2
    assert "moved it outside" in said[0]
    assert said[1] == "stopped"
