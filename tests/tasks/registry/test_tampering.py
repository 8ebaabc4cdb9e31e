"""What was judged cannot be replaced unseen: every tampering that was tried, by what it is found and how it is told."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import verification
from graftline.tasks.registry.history import history_folder, read_history
from graftline.tasks.registry.judged_versions import Compared, compare_versions
from graftline.tasks.registry.manifest import as_judged, require_as_judged
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import BARRED, DATA_VERSION, NEWEST, REASONS, RIVAL, VERDICT
from graftline.tasks.steps.register_model import champion_to_beat
from graftline.tasks.tracking.model_files import ADDED_BY_MLFLOW
from graftline.tasks.unchanged.receipts import result_if_unchanged
from graftline.tasks.workspace import Workspace
from tests.support.registered import record_file
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import MODEL, Line, files_of

Tampering = Callable[[Line], Iterator[None]]
OTHER_MODEL = "another"


def changed(name: str) -> Tampering:
    """A byte of a file of the registered model."""

    def tamper(_: Line) -> Iterator[None]:
        yield from _flipped(files_of(MODEL, 1) / name)

    return tamper


def changed_beside(name: str) -> Tampering:
    """A byte of a file of the version's run."""

    def tamper(line: Line) -> Iterator[None]:
        folder = str(MlflowClient().get_run(line.candidate.run_id).info.artifact_uri)
        yield from _flipped(Path(folder.removeprefix("file://")) / name)

    return tamper


def _flipped(path: Path) -> Iterator[None]:
    before = path.read_bytes()
    flip_byte(path)
    yield
    path.write_bytes(before)


def added_module(_: Line) -> Iterator[None]:
    path = files_of(MODEL, 1) / "code" / "torch.py"
    path.write_text("raise SystemExit('foreign code ran')")
    yield
    path.unlink()


def linked_weights(line: Line) -> Iterator[None]:
    path, elsewhere = files_of(MODEL, 1) / "artifacts/model/head.safetensors", line.workspace.root / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    yield
    elsewhere.replace(path)


def removed_code(_: Line) -> Iterator[None]:
    path = files_of(MODEL, 1) / "served_model.py"
    before = path.read_bytes()
    path.unlink()
    yield
    path.write_bytes(before)


def other_address(line: Line) -> Iterator[None]:
    """The registry's address of the files leads to others, in MLflow's database."""
    there, other = files_of(MODEL, 1), line.workspace.root / "other"
    shutil.copytree(there, other)
    flip_byte(other / "artifacts/model/head.safetensors")
    query = "UPDATE model_versions SET storage_location = ? WHERE name = ?"
    _in_database(line, query, other.as_uri(), MODEL)
    yield
    _in_database(line, query, there.as_uri(), MODEL)
    shutil.rmtree(other)


def address_of_nothing(line: Line) -> Iterator[None]:
    there = files_of(MODEL, 1)
    query = "UPDATE model_versions SET storage_location = ? WHERE name = ?"
    _in_database(line, query, (line.workspace.root / "nothing").as_uri(), MODEL)
    yield
    _in_database(line, query, there.as_uri(), MODEL)


def other_run(line: Line) -> Iterator[None]:
    """The version is said to be another run's, of which no record holds files."""
    query = "UPDATE model_versions SET run_id = ? WHERE name = ?"
    _in_database(line, query, "f" * 32, MODEL)
    yield
    _in_database(line, query, line.candidate.run_id, MODEL)


def deleted_version(line: Line) -> Iterator[None]:
    query = "UPDATE model_versions SET current_stage = ? WHERE name = ?"
    _in_database(line, query, "Deleted_Internal", MODEL)
    yield
    _in_database(line, query, "None", MODEL)


def _in_database(line: Line, query: str, *values: str) -> None:
    with closing(sqlite3.connect(line.workspace.root / "mlflow" / "mlflow.db")) as database, database:
        database.execute(query, values)


def changed_tag(name: str, value: str = "other") -> Tampering:
    def tamper(_: Line) -> Iterator[None]:
        client = MlflowClient()
        before = client.get_model_version(MODEL, "1").tags.get(name)
        client.set_model_version_tag(MODEL, "1", name, value)
        yield
        if before is None:
            client.delete_model_version_tag(MODEL, "1", name)
        else:
            client.set_model_version_tag(MODEL, "1", name, before)

    return tamper


def removed_tag(name: str) -> Tampering:
    def tamper(_: Line) -> Iterator[None]:
        before = MlflowClient().get_model_version(MODEL, "1").tags[name]
        MlflowClient().delete_model_version_tag(MODEL, "1", name)
        yield
        MlflowClient().set_model_version_tag(MODEL, "1", name, before)

    return tamper


def linked_record(line: Line) -> Iterator[None]:
    path = record_file(line.workspace, MODEL, 1)
    kept = line.workspace.root / "kept.json"
    path.rename(kept)
    path.symlink_to(kept)
    yield
    kept.replace(path)


def copied_record(line: Line) -> Iterator[None]:
    """The record of this model's champion as that of another one, which the registry is made to vouch for."""
    folder = history_folder(line.workspace, OTHER_MODEL)
    shutil.copytree(history_folder(line.workspace, MODEL), folder)
    newest = MlflowClient().get_registered_model(MODEL).tags[NEWEST]
    MlflowClient().create_registered_model(OTHER_MODEL, tags={NEWEST: newest})
    yield
    MlflowClient().delete_registered_model(OTHER_MODEL)
    shutil.rmtree(folder)


ABOUT = "record 1 is about version 1, "
FILE, TAG, BESIDE = f"{ABOUT}whose file", f"{ABOUT}whose tag", f"{ABOUT}beside which"
WEIGHTS_FILE, HEAD = "artifacts/model/model.safetensors", "artifacts/model/head.safetensors"
CONFIG = "artifacts/model/config.json"
# Each with what `history --verify` says.
FILES: dict[str, tuple[Tampering, str]] = {
    "weights": (changed(WEIGHTS_FILE), f"{FILE} {WEIGHTS_FILE} was changed"),
    "head": (changed(HEAD), f"{FILE} {HEAD} was changed"),
    "config": (changed(CONFIG), f"{FILE} {CONFIG} was changed"),
    "served_model.py": (changed("served_model.py"), f"{FILE} served_model.py was changed"),
    "MLflow's own file": (changed("MLmodel"), f"{FILE} MLmodel was changed"),
    "the library's copy": (changed("code/graftline/errors.py"), f"{FILE} code/graftline/errors.py was changed"),
    "an added module": (added_module, f"{FILE} code/torch.py was added"),
    "a removed file": (removed_code, f"{FILE} served_model.py is missing"),
    "a link": (linked_weights, f"{FILE} {HEAD} is no plain file"),
    "the registry's address": (other_address, f"{FILE} {HEAD} was changed"),
    "an address of nothing": (
        address_of_nothing,
        f"{ABOUT}of which the registry says: tiny version 1: its",
    ),
    "another run": (other_run, "the registry was replaced"),
}
BESIDE_FILES: dict[str, tuple[Tampering, str]] = {
    "the verdict's tag": (changed_tag(VERDICT, "PROMOTED"), f"{TAG} {VERDICT} was changed"),
    "the reasons' tag": (changed_tag(REASONS), f"{TAG} {REASONS} was changed"),
    "the predictions' tag": (
        changed_tag("graftline.predictions_sha256"), f"{TAG} graftline.predictions_sha256 was changed"
    ),
    "the data version's tag": (changed_tag(DATA_VERSION), f"{TAG} {DATA_VERSION} was changed"),
    "the rival's tag": (changed_tag(RIVAL, "7"), f"{TAG} {RIVAL} was changed"),
    "an added bar": (changed_tag(BARRED), f"{TAG} {BARRED} was added"),
    "a removed tag": (removed_tag("graftline.serving"), f"{TAG} graftline.serving was removed"),
    "the policy": (changed_beside("policy.json"), f"{BESIDE} policy.json was changed in MLflow"),
    "the evaluation": (changed_beside("evaluation.json"), f"{BESIDE} evaluation.json was changed in MLflow"),
    "the verdict's table": (changed_beside("verdict.json"), f"{BESIDE} verdict.json was changed in MLflow"),
    "the report": (changed_beside("report.html"), f"{BESIDE} report.html was changed in MLflow"),
    "a linked record": (linked_record, "record 1 is no plain file"),
    "a copied record": (copied_record, f"record 1 is a record of the model {MODEL}: it was copied into this history"),
    "a deleted version": (deleted_version, f"{ABOUT}which the registry has no more: it was deleted"),
}  # fmt: skip


def findings(line: Line, model: str = MODEL) -> str:
    return "\n".join(str(finding) for finding in verify(line.workspace, model).findings)


def test_nothing_is_found_where_nothing_was_done_and_what_was_compared_is_told(adapted: Line) -> None:
    proof = verify(adapted.workspace, MODEL)
    record = read_history(adapted.workspace, MODEL)[0]
    assert proof.findings == ()
    assert (record.model, proof.compared.versions, proof.compared.without) == (MODEL, 1, ())
    assert proof.compared.files == len(record.files or {}) > 20
    assert (proof.compared.tags, proof.compared.beside) == (11, 4)


@pytest.mark.parametrize(("tamper", "said"), FILES.values(), ids=FILES.keys())
def test_a_version_with_other_files_is_told_and_never_loaded(adapted: Line, tamper: Tampering, said: str) -> None:
    assert result_if_unchanged(adapted.workspace, adapted.settings) is not None
    with contextmanager(tamper)(adapted):
        assert said in findings(adapted)
        assert result_if_unchanged(adapted.workspace, adapted.settings) is None
        for look in (
            lambda: champion_to_beat.fn(adapted.workspace, MODEL, adapted.run),
            lambda: as_judged(adapted.workspace, MODEL, 1).__enter__(),
            lambda: require_as_judged(adapted.workspace, MODEL, 1),
        ):
            with pytest.raises(RegistryRefusedError, match="tiny version 1") as caught:
                look()
            assert caught.value.exit_code == 6
    assert findings(adapted) == ""


@pytest.mark.parametrize("number", ["7", None], ids=["with another folder's number", "with the folder's number"])
def test_records_that_were_taken_away_leave_no_version_that_is_loaded(adapted: Line, number: str | None) -> None:
    histories = history_folder(adapted.workspace, MODEL).parent
    kept = adapted.workspace.root / "kept"
    histories.rename(kept)
    if number:
        histories.mkdir()
        (histories / "folder").write_text(number)  # by which a folder knows that it decides about the model
    try:
        with pytest.raises(RegistryRefusedError, match="record 1 was removed, so it is not known which files"):
            require_as_judged(adapted.workspace, MODEL, 1)
    finally:
        shutil.rmtree(histories, ignore_errors=True)
        kept.rename(histories)
    require_as_judged(adapted.workspace, MODEL, 1)


def test_a_link_that_waits_for_what_mlflow_writes_has_nothing_written_through_it(adapted: Line) -> None:
    path, elsewhere = files_of(MODEL, 1) / ADDED_BY_MLFLOW, adapted.workspace.root / "precious"
    elsewhere.write_text("precious")
    before = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    try:
        with pytest.raises(RegistryRefusedError, match=f"{ADDED_BY_MLFLOW} is no plain file"):
            require_as_judged(adapted.workspace, MODEL, 1)
        assert elsewhere.read_text() == "precious"
    finally:
        path.unlink()
        elsewhere.unlink()
        if before is not None:
            path.write_bytes(before)


def test_nobody_who_decides_waits_while_the_files_are_compared(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare_and_decide(*of: Any) -> Compared:
        with FileLock(history_folder(adapted.workspace, MODEL) / ".lock", timeout=0, is_singleton=False):
            return compare_versions(*of)

    monkeypatch.setattr(verification, "compare_versions", compare_and_decide)
    assert findings(adapted) == ""


def test_a_folder_that_never_decided_compares_with_nothing_and_says_so(
    adapted: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{adapted.workspace.root}/mlflow/mlflow.db")
    require_as_judged(Workspace(tmp_path), MODEL, 1)
    assert "its history lies in another folder, so its files are compared with nothing" in caplog.text


@pytest.mark.parametrize(("tamper", "said"), BESIDE_FILES.values(), ids=BESIDE_FILES.keys())
def test_what_stands_beside_a_version_is_told_when_it_was_changed(adapted: Line, tamper: Tampering, said: str) -> None:
    with contextmanager(tamper)(adapted):
        assert said in findings(adapted, OTHER_MODEL if tamper is copied_record else MODEL)
    assert findings(adapted) == ""
