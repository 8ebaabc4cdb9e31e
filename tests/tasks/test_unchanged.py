"""Whatever a finished run rests on is seen when it changes, and as long as nothing does the result is known at once."""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from graftline.settings import AdaptationSettings, parse_settings, read_settings
from graftline.settings.compute import COMPUTE
from graftline.tasks.own_code import PACKAGE
from graftline.tasks.registry.history import history_folder
from graftline.tasks.registry.promotion import repair
from graftline.tasks.registry.witnessing import NOTE
from graftline.tasks.steps import receipt as writing
from graftline.tasks.steps.publish import publish
from graftline.tasks.steps.receipt import Beginning, beginning_of_run, keep_receipt
from graftline.tasks.steps.result import result_of
from graftline.tasks.tracking.model_files import ChangedFilesError
from graftline.tasks.unchanged import places, receipts
from graftline.tasks.unchanged import surroundings as installation
from graftline.tasks.unchanged.receipts import (
    Result,
    read_receipt,
    receipt_path,
    result_if_unchanged,
    write_receipt,
)
from graftline.tasks.workspace import Workspace
from tests.support.registered import move_by_hand
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import MODEL, Line
from tests.support.witnesses import bare_repository, name_witnesses

OTHER = AdaptationSettings(seed=1, device="cpu")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were later: what was written just now is old enough to be known by its times."""
    monkeypatch.setattr(places, "YOUNG_NS", 0)


@pytest.fixture
def line(adapted: Line) -> Line:
    """A finished run with its receipt, which every other test before has left as it was."""
    assert known(adapted) is not None
    return adapted


def known(line: Line, *, full_check: bool = False) -> Result | None:
    return result_if_unchanged(line.workspace, line.settings, full_check=full_check)


def file_of(line: Line, pattern: str) -> Path:
    """The file of the run; beside the folders of its steps there may be those of other tests."""
    done = line.done
    steps = [done.inputs.data.folder, done.checkpoint.folder, done.evaluation.folder]
    steps += [rival.folder for rival in done.baselines.rivals.values()]
    own = [done.inputs.base.path, *(step.path for step in steps)]
    found = line.workspace.root.glob(pattern)
    (path,) = [
        path for path in found if not pattern.startswith("artifacts") or any(path.is_relative_to(one) for one in own)
    ]
    return path


def keep(line: Line, beginning: Beginning | None) -> bool:
    """Whether the run leaves a receipt, whose place is then as it was."""
    path = receipt_path(line.workspace, line.settings)
    before = path.read_bytes()
    path.unlink()
    try:
        keep_receipt(line.workspace, line.done, line.report, beginning)
        return path.exists()
    finally:
        path.write_bytes(before)


@contextmanager
def put_back(path: Path) -> Iterator[Path]:
    """Afterwards the file is what it was, though the file system sees another one."""
    before = path.read_bytes() if path.exists() else None
    try:
        yield path
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)


def test_the_result_is_that_of_a_run_that_finds_every_step_done(line: Line) -> None:
    found, expected = known(line), result_of(line.done, line.report, 0.0, again=True)
    assert found is not None
    assert {**found, "seconds": 0.0} == expected
    assert set(expected["steps"].values()) == {"reused"}  # type: ignore[union-attr]
    assert "nothing changed since: no step ran again" in str(expected["summary"])


# Paths in the project, as patterns.
FILES = {
    "data": "data/rows.csv",
    "the data's version": "data.dvc",
    "a step's result": "artifacts/fine_tune/*/model/model.safetensors",
    "a step's manifest": "artifacts/validate_data/*/manifest.json",
    "a baseline": "artifacts/baselines/*/predictions.npy",
    "the evaluation": "artifacts/evaluate_model/*/evaluation.json",
    "the lock": "base_models.lock",
    "the stored base model": "artifacts/base_models/*/model.safetensors",
    "the policy": "mlflow/promotion.yaml",
    "a record of the history": f"mlflow/history/{MODEL}/000001.json",
    "a mark of the history": f"mlflow/history/{MODEL}/000001.done",
    "the report": "reports/report.html",
    "the numbers for DVC": "reports/metrics.json",
}


@pytest.mark.parametrize("pattern", FILES.values(), ids=FILES.keys())
def test_a_changed_byte_is_seen_though_size_and_time_of_writing_are_what_they_were(
    line: Line, patient: None, pattern: str
) -> None:
    assert known(line) is not None  # from now on nothing is read that its times vouch for
    path = file_of(line, pattern)
    written = path.stat()
    with put_back(path):
        flip_byte(path)
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
        assert path.stat().st_mtime_ns == written.st_mtime_ns
        assert known(line) is None
    assert known(line) is not None


@pytest.mark.parametrize("pattern", FILES.values(), ids=FILES.keys())
def test_a_missing_file_is_seen(line: Line, pattern: str) -> None:
    path = file_of(line, pattern)
    with put_back(path):
        path.unlink()
        assert known(line) is None
    assert known(line) is not None


@pytest.mark.parametrize(
    "new",
    ["expectations.yaml", "gx_suite.json", "data/more.csv", "mlflow/history/tiny/.1.a.draft"],
)
def test_a_file_that_was_not_there_is_seen(line: Line, new: str) -> None:
    with put_back(line.workspace.root / new) as path:
        path.write_text("")
        assert known(line) is None
    assert known(line) is not None


def test_the_page_of_another_command_beside_the_report_changes_nothing(line: Line) -> None:
    with put_back(line.workspace.root / "reports" / "comparison.html") as path:
        path.write_text("")
        assert known(line) is not None


def test_a_link_to_a_folder_in_the_data_is_left_to_a_run(line: Line, tmp_path: Path) -> None:
    link = line.workspace.root / "data" / "more"
    link.symlink_to(tmp_path)
    try:
        assert known(line) is None
    finally:
        link.unlink()
    assert known(line) is not None


def test_the_same_bytes_in_another_file_are_read_once_and_known_again(line: Line, patient: None) -> None:
    table, receipt = line.workspace.root / "data" / "rows.csv", receipt_path(line.workspace, line.settings)
    copy = table.with_name("copy")
    shutil.copyfile(table, copy)
    copy.replace(table)
    before = receipt.read_bytes()
    assert known(line) is not None
    refreshed = receipt.read_bytes()
    assert f"{table.stat().st_ino}, null" in refreshed.decode()
    assert refreshed != before
    assert known(line) is not None
    assert receipt.read_bytes() == refreshed


def test_a_full_check_reads_what_the_file_system_calls_unchanged(line: Line, patient: None) -> None:
    """A change below the file system leaves its times alone; here the receipt has another digest instead."""
    receipt = receipt_path(line.workspace, line.settings)
    with put_back(receipt):
        assert known(line) is not None
        found = read_receipt(receipt)
        place = next(place for place in found.files if place.path == "data")
        (name, noted), *_ = (found.files[place] or {}).items()
        files = {**found.files, place: {name: replace(noted, sha256="0" * 64)}}
        write_receipt(receipt, replace(found, files=files))
        assert noted.look is not None
        assert known(line) is not None
        assert known(line, full_check=True) is None
    assert known(line, full_check=True) is not None


def test_a_damaged_receipt_is_none(line: Line) -> None:
    with put_back(receipt_path(line.workspace, line.settings)) as path:
        content = path.read_bytes()
        flip_byte(path, len(content) // 2)
        assert known(line) is None
        path.write_bytes(content[: len(content) // 2])
        assert known(line) is None
        path.write_bytes(b"")
        assert known(line) is None


def test_settings_count_by_their_values(line: Line) -> None:
    values = line.settings.model_dump(mode="json")
    assert result_if_unchanged(line.workspace, parse_settings(values, "written out")) is not None
    values["adaptation"]["seed"] = 1
    assert result_if_unchanged(line.workspace, parse_settings(values, "another seed")) is None


def test_another_library_or_another_version_of_one_is_seen(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    (site / "torch-9.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    assert known(line) is None


@pytest.mark.parametrize("name", ["processor", "thread_count"])
def test_another_machine_is_seen(line: Line, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(installation, name, lambda *_: "another")
    assert known(line) is None


def test_another_registry_is_seen(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "mlflow.db"
    shutil.copyfile(line.workspace.root / "mlflow" / "mlflow.db", copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}")
    assert known(line) is None


def test_moved_and_removed_aliases_and_notes_are_seen(line: Line) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    client.set_registered_model_alias(MODEL, "other", "1")
    assert known(line) is None
    client.delete_registered_model_alias(MODEL, "other")
    assert known(line) is not None
    for alias in ("champion", "challenger"):
        client.delete_registered_model_alias(MODEL, alias)
        assert known(line) is None
        client.set_registered_model_alias(MODEL, alias, "1")
        assert known(line) is not None
    client.set_model_version_tag(MODEL, "1", "graftline.verdict", "HOLD")
    assert known(line) is None
    client.set_model_version_tag(MODEL, "1", "graftline.verdict", line.decision.verdict)
    assert known(line) is not None


@pytest.mark.parametrize(
    ("change", "back"),
    [("UPDATE model_versions SET current_stage = 'Deleted_Internal'",
      "UPDATE model_versions SET current_stage = 'None'"),
     ("UPDATE runs SET lifecycle_stage = 'deleted'", "UPDATE runs SET lifecycle_stage = 'active'"),
     ("ALTER TABLE model_versions RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO model_versions")],
    ids=["version", "run", "other tables"],
)  # fmt: skip
def test_a_deleted_version_or_run_or_a_registry_of_another_make_is_seen(line: Line, change: str, back: str) -> None:
    with closing(sqlite3.connect(line.workspace.root / "mlflow" / "mlflow.db", isolation_level=None)) as database:
        database.execute(change)
        assert known(line) is None
        database.execute(back)
    assert known(line) is not None


@pytest.fixture
def copied_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package in a folder where it can be changed."""
    copy = tmp_path / "graftline"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module in (writing, installation):
        monkeypatch.setattr(module, "PACKAGE", copy)
    return copy


@pytest.mark.parametrize("module", ["pages/templates/report.html", "tasks/steps/decide.py", "flows/adapt.py"])
def test_a_changed_byte_of_our_code_is_seen(
    line: Line, copied_code: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(writing, "_process_start_ns", time.time_ns)
    with put_back(receipt_path(line.workspace, line.settings)):
        keep_receipt(line.workspace, line.done, line.report, beginning_of_run(line.workspace, line.settings))
        assert known(line) is not None
        (copied_code / "tasks" / "__pycache__").mkdir()
        assert known(line) is not None
        flip_byte(copied_code / module)
        assert known(line) is None


def test_code_that_changed_while_the_process_ran_leaves_no_receipt(line: Line, copied_code: Path) -> None:
    assert not keep(line, beginning_of_run(line.workspace, line.settings))


def test_a_run_leaves_a_receipt_again(line: Line) -> None:
    assert keep(line, beginning_of_run(line.workspace, line.settings))


def test_a_run_that_left_its_runtime_open_is_known_by_what_was_asked_for_as_long_as_the_same_ones_compute(
    line: Line,
) -> None:
    asked = read_settings(line.workspace.root / "params.yaml", ["adaptation.runtime=auto"])
    assert asked.adaptation.runtime != line.settings.adaptation.runtime  # which the run came to
    with put_back(receipt_path(line.workspace, asked)):
        keep_receipt(line.workspace, line.done, line.report, beginning_of_run(line.workspace, asked))
        assert result_if_unchanged(line.workspace, asked) is not None
        with put_back(line.workspace.root / COMPUTE) as compute:
            compute.write_text("engine: ray\n")
            assert result_if_unchanged(line.workspace, asked) is None
            assert known(line) is not None


def test_a_run_whose_decision_is_still_to_be_witnessed_leaves_no_receipt_so_that_the_next_one_does_that(
    line: Line, tmp_path: Path
) -> None:
    remote = bare_repository(tmp_path / "witness.git")
    try:
        name_witnesses(line.workspace, git=[str(tmp_path / "away.git")])
        assert not keep(line, beginning_of_run(line.workspace, line.settings))
        name_witnesses(line.workspace, git=[str(remote)])
        repair(line.workspace, MODEL)
        assert keep(line, beginning_of_run(line.workspace, line.settings))
        assert known(line) is not None  # the note of what was given says nothing
    finally:
        (line.workspace.root / "mlflow" / "witnesses.yaml").unlink()
        (history_folder(line.workspace, MODEL) / NOTE).unlink(missing_ok=True)


@pytest.mark.parametrize("path", ["data/rows.csv", "mlflow/promotion.yaml", "base_models.lock"])
def test_an_input_that_changed_while_the_run_went_on_leaves_no_receipt(line: Line, path: str) -> None:
    beginning = beginning_of_run(line.workspace, line.settings)
    with put_back(line.workspace.root / path) as changed:
        changed.write_bytes(changed.read_bytes() + b"\n")
        assert not keep(line, beginning)


def test_an_input_that_was_young_and_changed_at_once_leaves_no_receipt(line: Line) -> None:
    path = line.workspace.policy
    with put_back(path):
        path.write_bytes(path.read_bytes() + b"\n")
        beginning = beginning_of_run(line.workspace, line.settings)
        assert beginning is not None
        place = next(place for place in beginning.looks if place.path == "mlflow/promotion.yaml")
        assert beginning.young[place][""].look is None
        other = {**beginning.young, place: {"": replace(beginning.young[place][""], sha256="0" * 64)}}
        assert keep(line, beginning)
        assert not keep(line, replace(beginning, young=other))


def test_data_that_the_run_itself_checked_out_leave_a_receipt(line: Line) -> None:
    beginning = beginning_of_run(line.workspace, line.settings)
    table = line.workspace.root / "data" / "rows.csv"
    content = table.read_bytes()
    table.unlink()
    table.write_bytes(content)
    assert keep(line, beginning)


@pytest.mark.parametrize("pattern", ["artifacts/fine_tune/*/training.json", "artifacts/base_models/*/config.json"])
def test_a_damaged_result_leaves_no_receipt(line: Line, pattern: str) -> None:
    beginning = beginning_of_run(line.workspace, line.settings)
    path = file_of(line, pattern)
    with put_back(path):
        flip_byte(path)
        assert not keep(line, beginning)


def test_pages_of_another_run_leave_no_receipt(line: Line) -> None:
    beginning = beginning_of_run(line.workspace, line.settings)
    other = replace(line, settings=line.settings.model_copy(update={"adaptation": OTHER}))
    with put_back(line.workspace.artifacts / "runs" / ".reports"):
        publish.fn(line.workspace, other.done)
        assert not keep(line, beginning)
    publish.fn(line.workspace, line.done)
    assert known(line) is not None


def test_a_verdict_that_waits_or_was_changed_leaves_no_receipt(line: Line) -> None:
    beginning = beginning_of_run(line.workspace, line.settings)
    for decision in (replace(line.decision, due="2099-01-01T00:00:00+00:00"), replace(line.decision, verdict="HOLD")):
        assert not keep(replace(line, decision=decision), beginning)


def test_an_alias_that_was_moved_by_hand_leaves_no_receipt_so_that_each_run_says_so(line: Line) -> None:
    from mlflow import MlflowClient

    beginning = beginning_of_run(line.workspace, line.settings)
    MlflowClient().delete_registered_model_alias(MODEL, "champion")
    try:
        assert not keep(line, beginning)
    finally:
        move_by_hand(1)
    assert known(line) is not None


def test_without_a_receipt_or_a_project_nothing_is_known(line: Line, tmp_path: Path) -> None:
    assert result_if_unchanged(Workspace(tmp_path), line.settings) is None
    assert history_folder(line.workspace, MODEL).is_dir()


@pytest.mark.parametrize(
    ("location", "place"),
    [("file:///models/m%20one", "/models/m one"), ("/models/m", "/models/m"), ("s3://bucket/m", None),
     ("mlflow-artifacts:/1/m", None), ("file://other/models/m", None), ("models:/m-1", None)],
)  # fmt: skip
def test_only_files_of_this_machine_are_looked_at(line: Line, location: str, place: str | None) -> None:
    found = receipts.model_place(line.workspace, location)
    assert (found.path if found else None) == place


def test_files_of_a_version_that_lie_elsewhere_are_compared_with_its_record(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(receipts, "model_place", lambda *_: None)
    monkeypatch.setattr("graftline.tasks.registry.manifest.require_as_judged", lambda *of: asked.append(of[-1]))
    assert known(line) is not None
    assert asked == [1]

    def refuse(*_: object) -> None:
        raise ChangedFilesError("head.safetensors was changed")

    monkeypatch.setattr("graftline.tasks.registry.manifest.require_as_judged", refuse)
    assert known(line) is None
