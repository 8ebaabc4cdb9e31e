"""The alias `champion` moves by recorded decisions only, one at a time; what the gate refused takes an override."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry import carrying_out, history, promotion, versions
from graftline.tasks.registry.carrying_out import append, entry_of, settled
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.promotion import MODIFIED_DATA, override, promote, record_verdict, rollback
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import BARRED, CHALLENGER, CHAMPION, VERDICT, champion_of
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, NO_FILES, RegistryState, Verdict, judge, move_by_hand, register, state_of
from tests.support.tiny_project import connected


def moves(workspace: Workspace) -> list[tuple[str, int | None, int | None]]:
    return list(state_of(workspace).moves)


def test_promotions_and_rollbacks_move_the_alias_and_are_recorded(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "PROMOTE", "PROMOTE")
    for version in (1, 2, 3):
        promote(workspace, MODEL, version, f"wanted {version}")
    assert rollback(workspace, MODEL, "slow").champion_after == 2
    assert rollback(workspace, MODEL, "slower").champion_after == 1
    records, champion = promotion.history(workspace, MODEL)
    assert champion == champion_of(MODEL) == 1
    assert [record.why for record in records[3:]] == ["wanted 1", "wanted 2", "wanted 3", "slow", "slower"]
    assert moves(workspace) == [
        ("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2), ("rollback", 2, 1),
    ]  # fmt: skip


def test_a_record_of_a_promotion_keeps_what_it_rests_on(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    record = promote(workspace, MODEL, 1, "a test")
    (version,) = MlflowClient().search_model_versions(f"name = '{MODEL}'")
    assert (record.verdict, record.run_id, record.model_sha256) == ("PROMOTE", version.run_id, "w" * 64)


def test_without_a_version_the_challenger_is_promoted(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    MlflowClient().set_registered_model_alias(MODEL, CHALLENGER, "2")
    assert promote(workspace, MODEL, None, "a test").champion_after == 2


def refusal(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(RegistryRefusedError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 6
    return str(caught.value)


def test_an_unknown_model_is_refused_with_the_names_that_there_are(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    for call, *arguments in ((promote, 1, "a"), (rollback, "a"), (override, 1, "a"), (promotion.history,)):
        assert refusal(call, workspace, "tinny", *arguments) == (
            "tinny: no such registered model, the registry has tiny;"
            " correct the name, or run `graftline adapt` to make it"
        )


@pytest.mark.parametrize("name", ["../tiny", "", "-tiny", "a/b", "tiny\n", "x" * 64, "<b>", "tiny' or name != '"])
def test_what_cannot_be_a_name_is_a_fault_of_the_arguments(workspace: Workspace, name: str) -> None:
    with pytest.raises(SettingsError, match="no name of a model, expected letters, digits, - and _, at most 63"):
        promote(workspace, name, 1, "a test")


def test_an_unknown_version_is_refused_with_the_versions_that_there_are(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    said = refusal(promote, workspace, MODEL, 7, "a test")
    assert said.startswith("tiny version 7: not in the registry, which has versions 1, 2;")


def test_promoting_the_champion_is_refused(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    assert refusal(promote, workspace, MODEL, 1, "again") == "tiny version 1: is the champion already; nothing to do"
    assert moves(workspace) == [("promote", None, 1)]


def test_promoting_without_a_challenger_is_refused(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    said = refusal(promote, workspace, MODEL, None, "a test")
    assert said == "tiny: has no challenger to promote; name a version with --version"


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_what_the_gate_refused_is_not_promoted_and_the_override_is_named(
    workspace: Workspace, verdict: Verdict
) -> None:
    register(workspace, verdict)
    said = refusal(promote, workspace, MODEL, 1, "a test")
    assert said.startswith(f"tiny version 1: has the verdict {verdict}, expected PROMOTE (because of {verdict});")
    assert "`graftline override tiny --version 1 --reason ...`" in said
    assert state_of(workspace) == RegistryState(None, ())


@pytest.mark.parametrize("call", [promote, override])
def test_an_unjudged_version_is_refused(workspace: Workspace, call: object) -> None:
    register(workspace, None)
    assert "tiny version 1: has no verdict in the history" in refusal(call, workspace, MODEL, 1, "a test")
    assert champion_of(MODEL) is None


def test_a_verdict_written_into_the_registry_by_hand_promotes_nothing(workspace: Workspace) -> None:
    register(workspace, "REJECT", None)
    for version in ("1", "2"):
        MlflowClient().set_model_version_tag(MODEL, version, VERDICT, "PROMOTE")
    assert "has the verdict REJECT" in refusal(promote, workspace, MODEL, 1, "a test")
    assert "has no verdict in the history" in refusal(promote, workspace, MODEL, 2, "a test")


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_an_override_promotes_and_stands_in_the_history_with_the_verdict_that_it_overrode(
    workspace: Workspace, verdict: Verdict
) -> None:
    register(workspace, "PROMOTE", verdict)
    promote(workspace, MODEL, 1, "a test")
    override(workspace, MODEL, 2, "the old one leaks names")
    newest = read_history(workspace, MODEL)[-1]
    assert (newest.action, newest.verdict, newest.why) == ("override", verdict, "the old one leaks names")
    assert state_of(workspace) == RegistryState(2, (("promote", None, 1), ("override", 1, 2)))
    assert rollback(workspace, MODEL, "a test").champion_after == 1


def test_a_passed_version_has_nothing_to_override(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    assert "nothing to override; use `graftline promote tiny --version 1`" in refusal(
        override, workspace, MODEL, 1, "a test"
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [("", "is blank"), (" \t\n", "is blank"), ("x" * 501, "has 501 characters"), ("a\u202eb", "is not printable")],
)
def test_an_override_without_a_readable_reason_is_a_fault_of_the_arguments(
    workspace: Workspace, reason: str, said: str
) -> None:
    register(workspace, "HOLD")
    with pytest.raises(SettingsError, match=f"the reason of an override {said}, expected 1 to 500 printable"):
        override(workspace, MODEL, 1, reason)
    assert state_of(workspace) == RegistryState(None, ())


def test_data_that_bar_promotion_are_overridden_by_name_only(workspace: Workspace) -> None:
    barred = "its data differs (rows.csv (modified))"
    register(workspace, "HOLD", barred=barred)
    # Taking the tag away changes nothing: the record knows.
    MlflowClient().delete_model_version_tag(MODEL, "1", BARRED)
    said = refusal(override, workspace, MODEL, 1, "a test")
    assert said.startswith(f"tiny version 1: may not be promoted: {barred};")
    assert "--despite modified-data" in said
    with pytest.raises(SettingsError, match="--despite everything: nothing of that name bars a promotion"):
        override(workspace, MODEL, 1, "a test", "everything")
    record = override(workspace, MODEL, 1, "an urgent repair", MODIFIED_DATA)
    assert record.why == f"an urgent repair (despite modified-data: {barred})"
    assert champion_of(MODEL) == 1


def test_naming_a_bar_that_is_not_there_is_refused(workspace: Workspace) -> None:
    register(workspace, "HOLD")
    assert "its data do not bar it" in refusal(override, workspace, MODEL, 1, "a test", MODIFIED_DATA)


@pytest.mark.parametrize("promoted", [0, 1])
def test_a_rollback_without_a_champion_before_is_refused(workspace: Workspace, promoted: int) -> None:
    register(workspace, "PROMOTE")
    for version in range(1, promoted + 1):
        promote(workspace, MODEL, version, "a test")
    said = refusal(rollback, workspace, MODEL, "a test")
    assert said.startswith(f"tiny: there is nothing to roll back to: its history holds {promoted} champion(s)")


def two_champions(workspace: Workspace) -> None:
    """Versions 1 to 3 may be promoted; 1 was champion, 2 is."""
    register(workspace, "PROMOTE", "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")


def test_a_rollback_to_a_deleted_version_is_refused_and_changes_nothing(workspace: Workspace) -> None:
    two_champions(workspace)
    MlflowClient().delete_model_version(MODEL, "1")
    assert "tiny version 1: not in the registry, which has versions 2, 3;" in refusal(rollback, workspace, MODEL, "a")
    assert champion_of(MODEL) == 2


@pytest.mark.parametrize("moved_to", [1, 3])
def test_an_alias_moved_by_hand_is_reported_and_not_overwritten(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, moved_to: int
) -> None:
    two_champions(workspace)
    move_by_hand(moved_to)
    assert promotion.history(workspace, MODEL)[1] == moved_to
    assert f"the champion is version {moved_to}, but by the history version 2: the alias was moved" in caplog.text
    assert "the alias was moved outside of Graftline" in refusal(rollback, workspace, MODEL, "a test")
    assert champion_of(MODEL) == moved_to


def test_an_alias_removed_by_hand_is_reported_and_not_set_again(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    register(workspace, "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    MlflowClient().delete_registered_model_alias(MODEL, CHAMPION)
    assert promotion.history(workspace, MODEL)[1] is None
    assert "the champion is none, but by the history version 1" in caplog.text


def test_an_alias_moved_by_hand_is_settled_by_promoting_where_it_points(workspace: Workspace) -> None:
    two_champions(workspace)
    move_by_hand(3)
    promote(workspace, MODEL, 3, "it was right")
    assert moves(workspace)[-1] == ("promote", 2, 3)
    assert rollback(workspace, MODEL, "a test").champion_after == 2


def test_the_history_stays_readable_after_the_champion_was_deleted(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    MlflowClient().delete_model_version(MODEL, "1")
    records, champion = promotion.history(workspace, MODEL)
    assert ([record.champion_after for record in records], champion) == ([None, 1], None)


def test_a_verdict_about_a_champion_that_is_none_any_more_is_refused(workspace: Workspace) -> None:
    two_champions(workspace)
    register(workspace, None)
    count = len(read_history(workspace, MODEL))
    with pytest.raises(RegistryRefusedError, match="the champion is version 2 by now, not version 1 as when version 4"):
        record_verdict(
            workspace, MODEL, version=4, verdict="PROMOTE", reasons=("better",), rival=1, evaluation_sha256="e",
            policy_sha256="p",
        )  # fmt: skip
    assert (champion_of(MODEL), len(read_history(workspace, MODEL))) == (2, count)


def test_a_registry_that_was_replaced_does_not_take_its_versions_for_the_old_ones(
    workspace: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_champions(workspace)
    kept = workspace.root / "mlflow" / "history"
    other = connected(workspace.root / "other", empty_store, monkeypatch)
    shutil.copytree(kept, other.root / "mlflow" / "history")
    register(other, None, None)
    assert versions.verdict_of(read_history(other, MODEL), versions.get_version(MODEL, 1)) is None
    assert "has no verdict in the history" in refusal(promote, other, MODEL, 1, "a test")
    judge(other, 2, "PROMOTE")
    promote(other, MODEL, 2, "a test")
    assert "version 2: is not the one that record 5 made champion" in refusal(rollback, other, MODEL, "a test")
    assert champion_of(MODEL) == 2


def test_a_name_that_the_registry_lists_is_found_by_its_run_key(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    client = MlflowClient()
    for key in ("other", "wanted", "wanted"):
        client.create_model_version(MODEL, NO_FILES, tags={versions.RUN_KEY: key})
    found = versions.find_version(MODEL, "wanted")
    assert found is not None
    assert int(found.version) == 3
    assert versions.find_version(MODEL, "unknown") is None


def test_a_registry_that_lost_the_model_is_told_with_what_to_do(
    workspace: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    connected(workspace.root, empty_store, monkeypatch)
    said = refusal(promotion.repair, workspace, MODEL)
    assert "mlflow/history/tiny holds 2 records, but the registry has no such model" in said
    assert "a new history begins" in said


def test_what_a_paused_process_was_about_to_note_does_not_undo_what_others_decided_since(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        def is_sure(self) -> bool:
            return False

    write, slept = history.write_record, list[int]()

    def write_then_sleep(where: Workspace, model: str, record: Record) -> None:
        write(where, model, record)
        slept.append(record.number)
        if len(slept) > 1:
            return
        for number in (2, 3, 1):  # others, who have taken the lock over
            chosen = next(one for one in settled(where, model) if one.version == number)
            entry = replace(entry_of(chosen), action="promote", champion_before=champion_of(model))
            append(where, model, settled(where, model), replace(entry, champion_after=number, reasons=()))
        history._held.set(Lost())

    register(workspace, "PROMOTE", "PROMOTE", "PROMOTE")
    with monkeypatch.context() as patch:
        patch.setattr(carrying_out, "write_record", write_then_sleep)
        with pytest.raises(RegistryRefusedError, match="was paused for so long"):
            promote(workspace, MODEL, 1, "asleep")
    assert state_of(workspace).champion == 1
    promote(workspace, MODEL, 2, "a test")
    assert verify(workspace, MODEL).findings == ()
