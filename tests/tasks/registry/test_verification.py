"""`history --verify` finds what was edited, removed, reordered, added or moved past Graftline, and nothing else."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.carrying_out import entry_of
from graftline.tasks.registry.history import history_folder, next_record, read_history, write_record
from graftline.tasks.registry.promotion import override, promote, rollback
from graftline.tasks.registry.records import Record, parse_record
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import CHAMPION, NEWEST, WEIGHTS
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, move_by_hand, record_file, register, state_of, write_first_form
from tests.support.tiny_project import connected

RECORDS = 6
NUMBERS = range(1, RECORDS + 1)
REPLACED = f"record {RECORDS} is not the one that the registry knows: it was edited or replaced"


@pytest.fixture(scope="module")
def decided_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Three verdicts, a promotion, an override, a rollback: version 1 is the champion."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = connected(tmp_path_factory.mktemp("decided"), empty_store, patch)
        register(workspace, "PROMOTE", "HOLD", "PROMOTE")
        promote(workspace, MODEL, 1, "a test")
        override(workspace, MODEL, 2, "a test")
        rollback(workspace, MODEL, "a test")
    return workspace.root / "mlflow"


@pytest.fixture
def decided(decided_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of it, to tamper with."""
    shutil.copytree(decided_once, tmp_path / "mlflow")
    return connected(tmp_path, decided_once / "mlflow.db", monkeypatch)


@contextmanager
def restored_afterwards(workspace: Workspace) -> Iterator[None]:
    """What the block does to the records is undone, and then nothing is found."""
    folder, kept = history_folder(workspace, MODEL), workspace.root / "kept"
    shutil.copytree(folder, kept)
    yield
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)
    assert findings(workspace) == []


def findings(workspace: Workspace) -> list[str]:
    return [str(finding) for finding in verify(workspace, MODEL).findings]


def file_of(workspace: Workspace, number: int) -> Path:
    return record_file(workspace, MODEL, number)


def mark_of(workspace: Workspace, number: int) -> Path:
    return file_of(workspace, number).with_suffix(".done")


def remove(workspace: Workspace, number: int) -> None:
    file_of(workspace, number).unlink()
    mark_of(workspace, number).unlink()


def rewrite(workspace: Workspace, number: int, **changed: object) -> Record:
    """Edit a record as one would who knows the form, its mark included."""
    record = replace(parse_record(file_of(workspace, number).read_bytes()), **changed)  # type: ignore[arg-type]
    file_of(workspace, number).write_bytes(record.content)
    mark_of(workspace, number).write_text(record.sha256 + "\n")
    return record


def test_an_untouched_history_has_no_findings_and_says_how_much_was_checked(decided: Workspace) -> None:
    proof = verify(decided, MODEL)
    assert (proof.records, proof.findings, proof.unfinished, proof.signed) == (RECORDS, (), False, 0)
    assert (proof.compared.versions, proof.compared.without) == (0, (1, 2, 3))  # these have no files


def test_a_version_deleted_past_graftline_is_told_though_others_are_left(decided: Workspace) -> None:
    MlflowClient().delete_model_version(MODEL, "3")
    assert findings(decided) == [
        "record 3 is about version 3, which the registry has no more: it was deleted outside of Graftline"
    ]


def test_a_record_that_is_a_link_is_found_and_nothing_is_decided_on_it(decided: Workspace) -> None:
    path = file_of(decided, 2)
    path.rename(decided.root / "elsewhere.json")
    path.symlink_to(decided.root / "elsewhere.json")
    assert findings(decided)[0] == "record 2 is no plain file, but a link or something else: it was replaced"
    with pytest.raises(RegistryRefusedError, match="is no plain file"):
        promote(decided, MODEL, 3, "a test")


def test_a_changed_byte_anywhere_in_a_record_is_found_in_that_record(decided: Workspace) -> None:
    for number in NUMBERS:
        path = file_of(decided, number)
        content = path.read_bytes()
        for place in (0, len(content) // 3, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert verify(decided, MODEL).findings[0].number == number
        path.write_bytes(content)
    assert findings(decided) == []


def test_a_record_that_was_edited_with_its_mark_is_found(decided: Workspace) -> None:
    for number in NUMBERS:
        with restored_afterwards(decided):
            rewrite(decided, number, why="another reason")
            follower = f"record {number + 1} does not follow on record {number}: one was edited, removed, reordered"
            (found,) = findings(decided)
            assert found.startswith(follower if number < RECORDS else REPLACED)


def test_a_chain_that_was_written_anew_is_not_the_one_that_the_registry_knows(decided: Workspace) -> None:
    for number in NUMBERS:
        with restored_afterwards(decided):
            record = rewrite(decided, number, why="another reason")
            for later in range(number + 1, RECORDS + 1):
                record = rewrite(decided, later, previous_sha256=record.sha256)
            assert len(read_history(decided, MODEL)) == RECORDS
            assert findings(decided) == [REPLACED]


@pytest.mark.parametrize("with_marks", [True, False])
def test_removed_newest_records_are_named_and_nothing_is_decided_on_what_is_left(
    decided: Workspace, with_marks: bool
) -> None:
    for first in NUMBERS:
        with restored_afterwards(decided):
            for number in range(first, RECORDS + 1):
                file_of(decided, number).unlink()
                if with_marks:
                    mark_of(decided, number).unlink()
            removed = [f"record {number} was removed" for number in range(first, RECORDS + 1)]
            assert [found for found in findings(decided) if found.endswith("was removed")] == removed
            with pytest.raises(RegistryRefusedError, match=r"was removed|was edited or removed"):
                promote(decided, MODEL, 3, "a test")


def test_a_removed_folder_is_found(decided: Workspace) -> None:
    shutil.rmtree(history_folder(decided, MODEL))
    assert findings(decided)[:RECORDS] == [f"record {number} was removed" for number in NUMBERS]


def test_a_record_removed_in_between_is_named(decided: Workspace) -> None:
    for number in range(1, RECORDS):
        with restored_afterwards(decided):
            remove(decided, number)
            assert f"record {number} was removed" in findings(decided)


def test_records_that_changed_places_are_named(decided: Workspace) -> None:
    two, three = (file_of(decided, number).read_bytes() for number in (2, 3))
    file_of(decided, 2).write_bytes(three)
    file_of(decided, 3).write_bytes(two)
    said = "is in the place of another: its file holds record"
    assert findings(decided)[:2] == [
        f"record 2 {said} 3; they were reordered",
        f"record 3 {said} 2; they were reordered",
    ]


@pytest.mark.parametrize("with_mark", [True, False])
def test_a_record_that_was_added_at_the_end_is_found_and_never_carried_out(decided: Workspace, with_mark: bool) -> None:
    records = read_history(decided, MODEL)
    entry = replace(entry_of(records[0]), action="promote", champion_before=1, champion_after=3, version=3)
    forged = next_record(records, entry)
    write_record(decided, MODEL, forged)
    if with_mark:
        mark_of(decided, forged.number).write_text(forged.sha256 + "\n")
    assert f"record {RECORDS + 1} was added outside of Graftline" in findings(decided)
    with pytest.raises(RegistryRefusedError, match=f"record {RECORDS + 1} was added outside of Graftline"):
        promotion.history(decided, MODEL)
    assert state_of(decided).champion == 1


def test_a_file_between_the_records_is_found(decided: Workspace) -> None:
    shutil.copy(file_of(decided, 2), history_folder(decided, MODEL) / "000002b.json")
    assert any("000002b.json" in found and "was added outside of Graftline" in found for found in findings(decided))


def test_an_alias_moved_by_mlflow_itself_is_found(decided: Workspace) -> None:
    move_by_hand(3)
    assert findings(decided) == [
        "the alias champion is at version 3, but by record 6 at version 1: it was moved outside of Graftline"
    ]
    MlflowClient().delete_registered_model_alias(MODEL, CHAMPION)
    assert findings(decided) == [
        "the alias champion is at none, but by record 6 at version 1: it was moved outside of Graftline"
    ]
    move_by_hand(1)
    assert findings(decided) == []


def test_an_alias_set_where_there_never_was_a_champion_is_found(workspace: Workspace) -> None:
    register(workspace, "HOLD")
    move_by_hand(1)
    assert findings(workspace) == [
        "the alias champion is at version 1, but by the history at none: it was moved outside of Graftline"
    ]


def test_an_alias_that_had_been_moved_before_a_decision_is_still_found_after_it(decided: Workspace) -> None:
    move_by_hand(3)
    override(decided, MODEL, 2, "a test")
    assert findings(decided) == [
        "record 7 found version 3 as champion where the records before had left version 1: the alias was moved outside"
        " of Graftline before it"
    ]


def test_weights_that_were_exchanged_in_the_registry_are_found(decided: Workspace) -> None:
    MlflowClient().set_model_version_tag(MODEL, "3", WEIGHTS, "x" * 64)
    (found,) = findings(decided)
    assert found.startswith("record 3 is about version 3 with weights www")


def test_the_registrys_note_cannot_be_taken_away(decided: Workspace) -> None:
    MlflowClient().delete_registered_model_tag(MODEL, NEWEST)
    remove(decided, RECORDS)
    assert "the registry's note of the newest record was removed" in findings(decided)
    with pytest.raises(RegistryRefusedError, match="the registry's note of the newest record was removed"):
        promotion.history(decided, MODEL)


def test_a_replaced_registry_is_found(decided: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = connected(decided.root / "other", empty_store, monkeypatch)
    shutil.copytree(history_folder(decided, MODEL), history_folder(other, MODEL))
    register(other, None)
    said = findings(other)
    assert said[0].startswith("record 1 is about version 1 of run ")
    assert said[0].endswith(": the registry was replaced")
    assert any(one.startswith("the alias champion is at none, but by record 6 at version 1") for one in said)
    # Those that it never had.
    assert [one.partition(",")[0] for one in said if "deleted" in one] == [
        "record 5 is about version 2", "record 3 is about version 3",
    ]  # fmt: skip


def test_a_chain_that_begins_with_records_of_the_first_form_verifies_and_is_watched(workspace: Workspace) -> None:
    register(workspace, None, None)
    later = {"when": "2999-01-01T00:00:00+00:00"}  # than the versions
    write_first_form(workspace.root, {"action": "verdict", **later}, {**later})
    move_by_hand(2)
    assert findings(workspace) == []
    rollback(workspace, MODEL, "a test")
    assert (verify(workspace, MODEL).records, findings(workspace)) == (3, [])
    remove(workspace, 3)
    assert "record 3 was removed" in findings(workspace)


def test_an_edited_record_of_the_first_form_is_found(workspace: Workspace) -> None:
    register(workspace, None)
    write_first_form(workspace.root, {}, {})
    path = file_of(workspace, 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"why": "because"}, indent=2, sort_keys=True) + "\n")
    assert findings(workspace)[0] == "record 1 was edited"
