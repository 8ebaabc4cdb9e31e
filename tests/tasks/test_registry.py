"""The alias `champion` moves by recorded decisions only, one at a time, and a kill between two writes is mended."""

import logging
import multiprocessing
import os
from pathlib import Path
from typing import Literal

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, SettingsError
from tasks import registry
from tasks.artifacts import Workspace
from tasks.history import read_history
from tasks.registry import BARRED, CHALLENGER, CHAMPION, REASONS, VERDICT, champion_of, promote, repair, rollback
from tasks.tracking import connect

MODEL = "tiny"
# Nothing here loads a version.
NO_FILES = "s3://nowhere/model"

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


def register(*verdicts: Verdict | None) -> None:
    """A registered model with a version per verdict; None for one that was not judged."""
    client = MlflowClient()
    client.create_registered_model(MODEL)
    for verdict in verdicts:
        tags = {VERDICT: verdict, REASONS: f"because of {verdict}"} if verdict else {}
        client.create_model_version(MODEL, NO_FILES, tags=tags)


def move_by_hand(version: int) -> None:
    MlflowClient().set_registered_model_alias(MODEL, CHAMPION, str(version))


def moves(workspace: Workspace) -> list[tuple[str, int | None, int | None]]:
    return [(record.action, record.champion_before, record.champion_after) for record in read_history(workspace, MODEL)]


def test_promotions_and_rollbacks_move_the_alias_and_are_recorded(workspace: Workspace) -> None:
    register("PROMOTE", "HOLD", "PROMOTE")
    for version in (1, 2, 3):
        promote(workspace, MODEL, version, f"wanted {version}")
    assert rollback(workspace, MODEL, "slow").champion_after == 2
    assert rollback(workspace, MODEL, "slower").champion_after == 1
    records, champion = registry.history(workspace, MODEL)
    assert champion == champion_of(MODEL) == 1
    assert [record.why for record in records] == ["wanted 1", "wanted 2", "wanted 3", "slow", "slower"]
    assert moves(workspace) == [
        ("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2), ("rollback", 2, 1),
    ]  # fmt: skip


def test_a_record_of_a_promotion_keeps_the_verdict_that_it_rests_on(workspace: Workspace) -> None:
    register("PROMOTE", "HOLD")
    assert promote(workspace, MODEL, 2, "a test").verdict == "HOLD"


def test_without_a_version_the_challenger_is_promoted(workspace: Workspace) -> None:
    register("PROMOTE", "HOLD")
    MlflowClient().set_registered_model_alias(MODEL, CHALLENGER, "2")
    assert promote(workspace, MODEL, None, "a test").champion_after == 2


def refusal(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(RegistryRefusedError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 6
    return str(caught.value)


def test_an_unknown_model_is_refused_with_the_names_that_there_are(workspace: Workspace) -> None:
    register("PROMOTE")
    for call in (lambda: promote(workspace, "tinny", 1, ""), lambda: rollback(workspace, "tinny", ""),
                 lambda: registry.history(workspace, "tinny")):  # fmt: skip
        assert refusal(call) == (
            "tinny: no such registered model, the registry has tiny;"
            " correct the name, or run `graftline adapt` to make it"
        )


@pytest.mark.parametrize("name", ["../tiny", "", "-tiny", "a/b", "tiny\n", "x" * 64, "<b>", "tiny' or name != '"])
def test_what_cannot_be_a_name_is_a_fault_of_the_arguments(workspace: Workspace, name: str) -> None:
    with pytest.raises(SettingsError, match="no name of a model, expected letters, digits, - and _, at most 63"):
        promote(workspace, name, 1, "a test")


def test_an_unknown_version_is_refused_with_the_versions_that_there_are(workspace: Workspace) -> None:
    register("PROMOTE", "PROMOTE")
    said = refusal(promote, workspace, MODEL, 7, "a test")
    assert said.startswith("tiny version 7: not in the registry, which has versions 1, 2;")


def test_promoting_the_champion_is_refused(workspace: Workspace) -> None:
    register("PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    assert refusal(promote, workspace, MODEL, 1, "again") == "tiny version 1: is the champion already; nothing to do"
    assert moves(workspace) == [("promote", None, 1)]


def test_promoting_without_a_challenger_is_refused(workspace: Workspace) -> None:
    register("PROMOTE")
    said = refusal(promote, workspace, MODEL, None, "a test")
    assert said == "tiny: has no challenger to promote; name a version with --version"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("REJECT", "has the verdict REJECT, expected PROMOTE or HOLD (because of REJECT)"),
     (None, "has the verdict none, expected PROMOTE or HOLD (it was never judged)")],
)  # fmt: skip
def test_a_rejected_or_unjudged_version_is_refused(workspace: Workspace, verdict: Verdict | None, said: str) -> None:
    register(verdict)
    assert said in refusal(promote, workspace, MODEL, 1, "a test")
    assert champion_of(MODEL) is None


def test_a_version_from_modified_data_is_refused(workspace: Workspace) -> None:
    register("HOLD")
    MlflowClient().set_model_version_tag(MODEL, "1", BARRED, "its data differs (rows.csv (modified))")
    said = refusal(promote, workspace, MODEL, 1, "a test")
    assert said.startswith("tiny version 1: may not be promoted: its data differs (rows.csv (modified));")


@pytest.mark.parametrize("promoted", [0, 1])
def test_a_rollback_without_a_champion_before_is_refused(workspace: Workspace, promoted: int) -> None:
    register("PROMOTE")
    for version in range(1, promoted + 1):
        promote(workspace, MODEL, version, "a test")
    said = refusal(rollback, workspace, MODEL, "a test")
    assert said.startswith(f"tiny: there is nothing to roll back to: its history holds {promoted} champion(s)")


def test_a_rollback_to_a_deleted_version_is_refused_and_changes_nothing(workspace: Workspace) -> None:
    register("PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    MlflowClient().delete_model_version(MODEL, "1")
    assert "tiny version 1: not in the registry, which has versions 2;" in refusal(rollback, workspace, MODEL, "")
    assert champion_of(MODEL) == 2


def killed_between_record_and_alias(workspace: Workspace, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_set_champion", kill)
        with pytest.raises(KeyboardInterrupt):
            promote(workspace, MODEL, version, "a test")
    assert champion_of(MODEL) != version


def test_a_promotion_killed_before_the_alias_moved_is_finished_by_the_next_command(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register("PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    killed_between_record_and_alias(workspace, 2, monkeypatch)
    records, champion = registry.history(workspace, MODEL)
    assert champion == records[-1].champion_after == 2
    assert "tiny: finishing the promote to version 2" in caplog.text


def test_the_first_promotion_killed_before_the_alias_was_made_is_finished_by_the_next_promotion(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("PROMOTE", "PROMOTE")
    killed_between_record_and_alias(workspace, 1, monkeypatch)
    promote(workspace, MODEL, 2, "a test")
    assert moves(workspace) == [("promote", None, 1), ("promote", 1, 2)]
    assert champion_of(MODEL) == 2


def test_a_repair_finishes_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    register("PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    killed_between_record_and_alias(workspace, 2, monkeypatch)
    repair(workspace, MODEL)
    move_by_hand(1)
    repair(workspace, MODEL)
    assert champion_of(MODEL) == 1


@pytest.mark.parametrize("moved_to", [1, 3])
def test_an_alias_moved_by_hand_is_reported_and_not_overwritten(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, moved_to: int
) -> None:
    register("PROMOTE", "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    move_by_hand(moved_to)
    caplog.set_level(logging.WARNING)
    assert registry.history(workspace, MODEL)[1] == moved_to
    assert f"the champion is version {moved_to}, but by the history version 2: the alias was moved" in caplog.text
    assert "the alias was moved outside of Graftline" in refusal(rollback, workspace, MODEL, "a test")
    assert champion_of(MODEL) == moved_to


def test_an_alias_removed_by_hand_is_reported_and_not_set_again(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    register("PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    MlflowClient().delete_registered_model_alias(MODEL, CHAMPION)
    assert registry.history(workspace, MODEL)[1] is None
    assert "the champion is none, but by the history version 1" in caplog.text


def test_an_alias_moved_by_hand_is_settled_by_promoting_where_it_points(workspace: Workspace) -> None:
    register("PROMOTE", "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    move_by_hand(3)
    promote(workspace, MODEL, 3, "it was right")
    assert moves(workspace)[-1] == ("promote", 2, 3)
    assert rollback(workspace, MODEL, "a test").champion_after == 2


def test_the_history_stays_readable_after_the_champion_was_deleted(workspace: Workspace) -> None:
    register("PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    MlflowClient().delete_model_version(MODEL, "1")
    records, champion = registry.history(workspace, MODEL)
    assert ([record.champion_after for record in records], champion) == ([1], None)


def test_a_decision_about_a_champion_that_is_none_any_more_is_refused(workspace: Workspace) -> None:
    register("PROMOTE", "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    with pytest.raises(RegistryRefusedError, match="the champion is version 2 by now, not version 1 as when version 3"):
        registry.move_champion(workspace, MODEL, to=3, action="verdict", why="a test", expected=1, check_expected=True)
    assert (champion_of(MODEL), len(read_history(workspace, MODEL))) == (2, 2)


def promote_in_a_process(root: Path, version: int) -> None:
    # Another spelling of the same store: a database connection must not be shared with the parent.
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow/./mlflow.db"
    workspace = Workspace(root)
    connect(workspace)
    promote(workspace, MODEL, version, f"process {version}")


def test_eight_promoters_at_once_leave_one_unbroken_chain_that_ends_at_the_alias(workspace: Workspace) -> None:
    judged: list[Verdict] = ["PROMOTE"] * 9
    register(*judged)
    promote(workspace, MODEL, 1, "a test")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=promote_in_a_process, args=(workspace.root, number)) for number in range(2, 10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    records = read_history(workspace, MODEL)
    assert [record.champion_before for record in records[1:]] == [record.champion_after for record in records[:-1]]
    assert {record.version for record in records} == set(range(1, 10))
    assert champion_of(MODEL) == records[-1].champion_after


def test_a_name_that_the_registry_lists_is_found_by_its_run_key(workspace: Workspace) -> None:
    register("PROMOTE")
    client = MlflowClient()
    for key in ("other", "wanted", "wanted"):
        client.create_model_version(MODEL, NO_FILES, tags={registry.RUN_KEY: key})
    found = registry.find_version(MODEL, "wanted")
    assert found is not None
    assert int(found.version) == 3
    assert registry.find_version(MODEL, "unknown") is None
