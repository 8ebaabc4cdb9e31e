"""Records follow on each other, each is written by one writer, and none is changed afterwards."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graftline.digests import json_sha256
from graftline.errors import RegistryRefusedError
from graftline.tasks.registry.history import (
    champions,
    deciding,
    next_record,
    note_carried_out,
    read_history,
    who,
    write_record,
)
from graftline.tasks.registry.records import FORM, Action, Entry, Record, parse_record
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, record_file, write_first_form


def entry(before: int | None, after: int, action: Action = "promote", why: str = "a test") -> Entry:
    return Entry(action=action, version=after, champion_before=before, champion_after=after, why=why)


def append(root: Path, before: int | None, after: int, action: Action = "promote", why: str = "a test") -> Record:
    """The next record, carried out."""
    workspace = Workspace(root)
    record = next_record(read_history(workspace, MODEL), entry(before, after, action, why))
    write_record(workspace, MODEL, record)
    note_carried_out(workspace, MODEL, record)
    return record


def file_of(root: Path, number: int) -> Path:
    return record_file(Workspace(root), MODEL, number)


def three_records(root: Path) -> None:
    append(root, None, 1)
    append(root, 1, 2)
    append(root, 2, 3)


def test_records_are_read_as_they_were_written_in_their_order(tmp_path: Path) -> None:
    written = [
        append(tmp_path, None, 1),
        append(tmp_path, 1, 2, why="better — <b>"),
        append(tmp_path, 2, 1, "rollback"),
    ]
    assert read_history(Workspace(tmp_path), MODEL) == written


def test_who_signs_in_at_the_registry_is_named_before_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow/mlflow.db")
    here = who()
    assert not here.startswith("ann ("), "a file asks nobody"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert who() == f"ann ({here})"


def test_a_record_tells_who_when_and_which_record_it_follows(tmp_path: Path) -> None:
    first, second = append(tmp_path, None, 1), append(tmp_path, 1, 2)
    assert "@" in first.who
    assert first.when.endswith("+00:00")
    assert first.previous_sha256 is None
    assert second.previous_sha256 == first.sha256


def test_a_record_is_canonical_json_and_its_digest_is_that_of_its_file(tmp_path: Path) -> None:
    record = append(tmp_path, None, 1, why="é — <b>")
    (line,) = file_of(tmp_path, 1).read_text(encoding="utf-8").splitlines()
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert record.sha256 == json_sha256(json.loads(line))


def test_records_of_the_first_form_are_read_and_followed_on(tmp_path: Path) -> None:
    write_first_form(tmp_path, {}, {"action": "verdict", "why": "è"})
    newest = append(tmp_path, 2, 3)
    records = read_history(Workspace(tmp_path), MODEL)
    assert [record.form for record in records] == [1, 1, FORM]
    assert records[1].reasons == ("è",)
    assert newest.previous_sha256 == json_sha256(json.loads(file_of(tmp_path, 2).read_text(encoding="utf-8")))


def test_of_writers_that_follow_on_the_same_record_one_wins(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    append(tmp_path, None, 1)
    known = read_history(workspace, MODEL)

    def write(version: int) -> bool:
        try:
            write_record(workspace, MODEL, next_record(known, entry(1, version, why=f"writer {version}")))
        except RegistryRefusedError as error:
            assert "someone else decided about this model at the same moment (record 2)" in str(error)  # noqa: PT017
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(2, 10)))
    assert won.count(True) == 1
    assert [record.version for record in read_history(workspace, MODEL)] == [1, won.index(True) + 2]


def test_no_draft_is_left_behind(tmp_path: Path) -> None:
    three_records(tmp_path)
    assert not list(file_of(tmp_path, 1).parent.glob(".*.draft"))


def _edit(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"why": "another reason"}))


def _add_a_space(path: Path) -> None:
    path.write_text(" " + path.read_text())


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("harm", [_edit, _add_a_space, Path.unlink])
def test_an_edited_or_removed_record_is_refused(tmp_path: Path, harm: Callable[[Path], None], number: int) -> None:
    three_records(tmp_path)
    harm(file_of(tmp_path, number))
    with pytest.raises(RegistryRefusedError, match=r"(: a record|json:) was edited or removed; expected an unb"):
        read_history(Workspace(tmp_path), MODEL)


@pytest.mark.parametrize("content", ["", "[]", '{"number": 1}', "no JSON", '"\\ud800"', '{"form": 2, "number": "1"}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    append(tmp_path, None, 1)
    file_of(tmp_path, 1).write_text(content)
    with pytest.raises(RegistryRefusedError, match=r"000001\.json: is not a record of this history; expected an unbro"):
        read_history(Workspace(tmp_path), MODEL)


def test_a_rollback_takes_the_newest_champion_off_the_stack(tmp_path: Path) -> None:
    three_records(tmp_path)
    append(tmp_path, 3, 2, "rollback")
    append(tmp_path, 2, 4)
    assert [record.version for record in champions(read_history(Workspace(tmp_path), MODEL))] == [1, 2, 4]


def test_a_process_that_does_not_stop_deciding_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.tasks.registry.history.LOCK_SECONDS", 0.1)
    with (
        deciding(Workspace(tmp_path), MODEL),
        pytest.raises(RegistryRefusedError, match="another process has been moving its champion for"),
        deciding(Workspace(tmp_path), MODEL),
    ):
        pass


def test_records_of_the_second_form_keep_their_digest() -> None:
    second = Record(
        action="verdict", version=1, champion_before=None, champion_after=1, why="the first", verdict="PROMOTE",
        number=1, when="2026-11-01T00:00:00+00:00", who="ada@host", previous_sha256=None, form=2,
    )  # fmt: skip
    assert second.sha256 == "40f1692bf98958181495a64970bda4164ab7d1ccd5affb5bf3a2cd072e0d4fdb"
    assert parse_record(second.content) == second
