"""gc removes what nothing needs, and nothing else; a version shares no file with a step."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from graftline.base_models.lock import LockedFile, LockedModel, listing_sha256, print_lock
from graftline.digests import folder_sha256
from graftline.files import files_below, write_atomically
from graftline.flows.gc import gc
from graftline.tasks.base_models.store import LOCK_FILE, store_of
from graftline.tasks.garbage import find_garbage
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.promotion import override, promote, rollback
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import NEWEST, champion_of, versions_of
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.step_folders import is_intact, produce
from graftline.tasks.step_uses import needed, note_use, noting_uses, read_uses
from graftline.tasks.tracking.server import connect
from graftline.tasks.unchanged.places import Place
from graftline.tasks.unchanged.receipts import Receipt, write_receipt
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, register
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import Line, connected, files_of, run_line, write_project


def collect(root: Path, *, dry_run: bool = False, keep_rejected: int = 5) -> list[str]:
    """What gc removed. Its table's bytes are those that went."""
    before = blocks(root)
    result = gc(root, dry_run=dry_run, keep_rejected=keep_rejected)
    removed = result["removed"]
    assert isinstance(removed, list)
    assert before - blocks(root) == (0 if dry_run else result["bytes"])
    return [str(row["what"]) for row in removed if isinstance(row, dict)]


def blocks(root: Path) -> int:
    """The bytes of all files that gc is about, each once."""
    files = [path for part in ("artifacts", "mlflow/artifacts") for path in files_below(root / part)]
    return sum({path.lstat().st_ino: path.lstat().st_size for path in files}.values())


def step(root: Path, number: int, content: bytes = b"small") -> Path:
    """A step folder of that number."""
    return produce(
        Workspace(root), "a_step", depends_on={"number": number}, code=(), libraries=(),
        build=lambda folder: write_atomically(folder / "weights", content),
    ).path  # fmt: skip


def run(root: Path, *numbers: int, version: int | None = 1, model: str = MODEL) -> None:
    """A run through these steps; without a version it does not end well."""
    with noting_uses(Workspace(root), model) as ended_with:
        for number in numbers:
            step(root, number)
        if version is not None:
            ended_with(version)


def left(root: Path) -> int:
    return len([path for path in (root / "artifacts" / "a_step").iterdir() if path.is_dir()])


def test_the_newest_run_and_what_was_begun_since_is_needed(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    run(tmp_path, 2, 3)
    run(tmp_path, 4, version=None)
    one = step(tmp_path, 1).relative_to(tmp_path).as_posix()
    assert collect(tmp_path, dry_run=True) == [one, "artifacts/uses"]
    assert left(tmp_path) == 4
    assert collect(tmp_path) == [one, "artifacts/uses"]
    assert left(tmp_path) == 3
    assert collect(tmp_path) == []


def test_each_model_has_a_newest_run(tmp_path: Path) -> None:
    run(tmp_path, 1, model="one")
    run(tmp_path, 2, model="other")
    assert collect(tmp_path) == []


def test_a_live_run_keeps_what_it_goes_through(tmp_path: Path) -> None:
    with noting_uses(Workspace(tmp_path), MODEL):
        step(tmp_path, 1)
        pid = os.fork()
        if pid == 0:  # a later run that ends well
            run(tmp_path, 2)
            os._exit(0)
        os.waitpid(pid, 0)
        assert collect(tmp_path) == []
    run(tmp_path, 3)
    assert len(collect(tmp_path)) == 3


def test_the_run_of_a_version_in_use_is_needed(tmp_path: Path) -> None:
    run(tmp_path, 1, version=1)
    run(tmp_path, 2, version=2)
    run(tmp_path, 3, version=3)
    uses = read_uses(Workspace(tmp_path))
    assert [use.version for use in needed(uses, {MODEL: {1}})] == [3, 1]


def test_a_step_that_a_process_works_on_is_left(tmp_path: Path) -> None:
    run(tmp_path, 1)
    run(tmp_path, 2)
    folder = step(tmp_path, 1)
    pid = os.fork()
    if pid == 0:
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            result = gc(tmp_path, dry_run=False, keep_rejected=5)
        os._exit("in use by now" not in str(result["summary"]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert folder.exists()


def test_what_kills_and_faults_left_is_removed(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    damaged, folder = step(tmp_path, 1), step(tmp_path, 2)
    flip_byte(damaged / "weights")
    for name in (f".{'0' * 32}.partial", f".{folder.name}.damaged"):
        shutil.copytree(folder, folder.with_name(name))
    (tmp_path / "artifacts" / "runs").mkdir()
    shutil.copytree(folder, tmp_path / "artifacts" / "runs" / f"{'0' * 32}.registering")
    assert len(collect(tmp_path)) == 4
    assert left(tmp_path) == 1
    assert is_intact(folder)


def test_before_a_run_was_noted_no_step_is_removed(tmp_path: Path) -> None:
    step(tmp_path, 1)
    assert collect(tmp_path) == []


def test_shared_files_go_with_the_last_folder_that_has_them(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    for number in (1, 2):
        step(tmp_path, number, content)
    run(tmp_path, 1)
    assert len(collect(tmp_path)) == 1
    assert len(list(Workspace(tmp_path).shared_files.iterdir())) == 1
    run(tmp_path, 3)
    assert len(collect(tmp_path)) == 3
    assert list(Workspace(tmp_path).shared_files.iterdir()) == []


def test_a_base_model_that_is_locked_or_used_after_gc_looked_is_left(tmp_path: Path) -> None:
    run(tmp_path, 1)
    files = tuple(LockedFile(path=name, bytes=0, sha256="0" * 64) for name in ("config.json", "model.safetensors"))
    locked = LockedModel(revision="none", licence="MIT", digest=listing_sha256(files), files=files)
    used, unused = "d" * 64, "e" * 64
    for digest in (locked.digest, used, unused):
        write_atomically(store_of(Workspace(tmp_path)) / digest / "weights", b"some")
    write_atomically(tmp_path / LOCK_FILE, print_lock({}))
    found = {Path(one.what).name: one for one in find_garbage(Workspace(tmp_path), keep_rejected=5)}
    assert found.keys() == {locked.digest, used, unused}
    write_atomically(tmp_path / LOCK_FILE, print_lock({"path:base": locked}))
    with noting_uses(Workspace(tmp_path), MODEL):
        note_use(f"base_models/{used}")
        assert {digest: one.remove() for digest, one in found.items()} == {
            locked.digest: False, used: False, unused: True
        }  # fmt: skip


def test_a_receipt_goes_with_the_steps_that_it_rests_on(tmp_path: Path) -> None:
    run(tmp_path, 1)
    run(tmp_path, 2)
    runs = tmp_path / "artifacts" / "runs"
    for number in (1, 2):
        place = Place(step(tmp_path, number).relative_to(tmp_path).as_posix())
        receipt = Receipt({}, {}, {}, {place: {}, Place("expectations.yaml"): None})
        write_receipt(runs / f"{number}.receipt", receipt)
    write_atomically(runs / "3.receipt", "cut")
    assert {Path(name).name for name in collect(tmp_path)} >= {"1.receipt", "3.receipt"}
    assert [path.name for path in runs.glob("*.receipt")] == ["2.receipt"]


def test_rejected_versions_go_but_for_the_newest_and_the_history_says_so(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "HOLD", "REJECT", "HOLD", None, "REJECT")
    promote(workspace, MODEL, 1, "first")
    override(workspace, MODEL, 2, "better all the same")
    assert collect(workspace.root, keep_rejected=1) == [f"{MODEL} version 3", f"{MODEL} version 4"]
    assert sorted(versions_of(MODEL)) == [1, 2, 5, 6]
    assert [(record.action, record.version) for record in read_history(workspace, MODEL)][-2:] == [
        ("remove", 3), ("remove", 4)
    ]  # fmt: skip
    assert verify(workspace, MODEL).findings == ()
    assert champion_of(MODEL) == 2
    rollback(workspace, MODEL, "back")
    assert champion_of(MODEL) == 1
    assert verify(workspace, MODEL).findings == ()


def test_a_champion_in_a_registry_elsewhere_keeps_its_steps(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mlflow.db"
    (workspace.root / "mlflow" / "mlflow.db").rename(elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    connect(workspace)
    register(workspace, "PROMOTE", "HOLD")
    promote(workspace, MODEL, 1, "first")
    run(workspace.root, 1, version=1)
    run(workspace.root, 2, version=2)
    assert collect(workspace.root) == []


def test_models_of_others_in_a_shared_registry_are_not_looked_at(workspace: Workspace) -> None:
    client = MlflowClient()
    for name in ("theirs", "their own name"):
        client.create_registered_model(name)
        client.create_model_version(name, "s3://nowhere/model")
    client.set_registered_model_tag("theirs", NEWEST, "3 " + "0" * 64)  # their history, which is not here
    register(workspace, "HOLD")
    assert collect(workspace.root, keep_rejected=0) == [f"{MODEL} version 1"]
    assert [path.name for path in (workspace.root / "mlflow" / "history").iterdir()] == [MODEL]


def test_a_removal_that_a_kill_cut_short_is_finished_by_the_next_command(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, "HOLD")
    with monkeypatch.context() as patch:
        patch.setattr("graftline.tasks.registry.carrying_out.delete_version", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            collect(workspace.root, keep_rejected=0)
    assert sorted(versions_of(MODEL)) == [1]
    assert collect(workspace.root, keep_rejected=0) == []
    assert sorted(versions_of(MODEL)) == []
    assert verify(workspace, MODEL).findings == ()


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Line]:
    """A project with a champion and a champion before it."""
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("twice") / "project")
        connected(root, empty_store, patch)
        for number, max_tokens in ((1, 32), (2, 31)):
            line = run_line(root, ["adaptation.strategy=feature_extraction", f"adaptation.max_tokens={max_tokens}"])
            if champion_of(MODEL) != number:
                override(line.workspace, MODEL, number, "for this test")
        yield line


@pytest.mark.full
def test_a_byte_that_flips_in_a_step_leaves_champion_and_rollback_as_they_were(twice: Line) -> None:
    versions = [files_of(MODEL, number) for number in (1, 2)]
    digests = [folder_sha256(folder) for folder in versions]
    of_steps = {path.stat().st_ino for path in files_below(twice.workspace.artifacts)}
    assert of_steps.isdisjoint(path.stat().st_ino for folder in versions for path in files_below(folder))

    weights = twice.checkpoint.model / "model.safetensors"
    assert weights.stat().st_nlink > 2  # the base model's own, and that of the step before
    flip_byte(weights)

    assert not is_intact(twice.checkpoint.folder.path)
    assert [folder_sha256(folder) for folder in versions] == digests
    for number in (2, 1):
        scored = score_in_fresh_process(twice.workspace, f"models:/{MODEL}/{number}", ["a text"], threads=1)
        assert len(scored.predictions) == 1
    again = run_line(twice.workspace.root, ["adaptation.strategy=feature_extraction", "adaptation.max_tokens=31"])
    assert (again.base.outcome, again.checkpoint.folder.outcome) == ("ran", "ran")
    assert again.checkpoint.weights_sha256 == twice.checkpoint.weights_sha256
    assert again.candidate.version == 2
    assert is_intact(again.checkpoint.folder.path)


@pytest.mark.full
def test_a_copy_of_a_model_that_no_version_refers_to_is_removed_and_the_versions_stay(twice: Line) -> None:
    client = MlflowClient()
    source = client.get_model_version(MODEL, "1")
    copied = client.create_logged_model(twice_experiment(), source_run_id=source.run_id)
    folder = twice.workspace.root / "mlflow" / "artifacts" / "models" / copied.model_id
    shutil.copytree(files_of(MODEL, 1), folder / "artifacts")
    before = [folder_sha256(files_of(MODEL, number)) for number in (1, 2)]
    collect(twice.workspace.root)
    assert folder.exists()  # its run is one that a rollback leads to
    rollback(twice.workspace, MODEL, "so that the run of version 2 is not")
    copied = client.create_logged_model(twice_experiment(), source_run_id=client.get_model_version(MODEL, "2").run_id)
    shutil.copytree(files_of(MODEL, 1), folder.with_name(copied.model_id) / "artifacts")
    assert collect(twice.workspace.root) == [f"mlflow/artifacts/models/{copied.model_id}"]
    assert [folder_sha256(files_of(MODEL, number)) for number in (1, 2)] == before


def twice_experiment() -> str:
    experiment = MlflowClient().get_experiment_by_name(MODEL)
    assert experiment is not None
    return str(experiment.experiment_id)
