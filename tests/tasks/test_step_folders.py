"""A finished step is reused, a damaged one is made again, and a killed one leaves nothing that looks finished."""

import importlib.metadata
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import JsonValue

from graftline.tasks import step_folders
from graftline.tasks.step_folders import StepFolder, is_intact, produce
from graftline.tasks.workspace import Workspace

STEP = "a_step"
INPUTS: dict[str, JsonValue] = {"data": "d1", "settings": {"epochs": 3}}


def write_words(folder: Path) -> None:
    (folder / "words").mkdir()
    (folder / "words" / "first.txt").write_text("first")
    (folder / "second.txt").write_text("second")


def make(
    root: Path,
    build: Callable[[Path], None] = write_words,
    inputs: dict[str, JsonValue] = INPUTS,
    libraries: tuple[str, ...] = ("numpy",),
    *,
    resumable: bool = False,
) -> StepFolder:
    workspace, code = Workspace(root), (step_folders.__name__,)
    return produce(workspace, STEP, depends_on=inputs, code=code, libraries=libraries, build=build, resumable=resumable)


def must_not_build(_: Path) -> None:
    raise AssertionError("the step ran again")


def finished(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "artifacts" / STEP).iterdir() if not path.name.startswith("."))


def test_equal_inputs_reuse_what_was_made(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, must_not_build, dict(reversed(INPUTS.items())))
    assert (first.outcome, second.outcome) == ("ran", "reused")
    assert (second.key, second.path) == (first.key, first.path)
    assert (second.path / "words" / "first.txt").read_text() == "first"


@pytest.mark.parametrize(
    "inputs",
    [{**INPUTS, "data": "d2"}, {**INPUTS, "settings": {"epochs": 4}}, {**INPUTS, "settings": {"epochs": "3"}},
     {**INPUTS, "more": None}, {"data": "d1"}],
)  # fmt: skip
def test_other_inputs_have_another_key(tmp_path: Path, inputs: dict[str, JsonValue]) -> None:
    assert make(tmp_path, inputs=inputs).key != make(tmp_path).key
    assert len(finished(tmp_path)) == 2


def test_another_version_of_a_library_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path)
    versions = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{versions(name)}.1")
    assert make(tmp_path).key != first.key


def test_other_code_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path)
    monkeypatch.setattr(step_folders, "code_sha256", lambda *_: "0" * 64)
    assert make(tmp_path).key != first.key


def _change(folder: Path) -> None:
    (folder / "second.txt").write_text("secomd")


def _remove(folder: Path) -> None:
    (folder / "words" / "first.txt").unlink()


def _add(folder: Path) -> None:
    (folder / "third.txt").write_text("third")


def _cut_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize("harm", [_change, _remove, _add, _cut_manifest])
def test_a_damaged_folder_is_noticed_and_made_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    first = make(tmp_path)
    harm(first.path)
    assert not is_intact(first.path)
    again = make(tmp_path)
    assert (again.outcome, again.path) == ("ran", first.path)
    assert is_intact(again.path)
    assert sorted(path.name for path in again.path.iterdir()) == ["manifest.json", "second.txt", "words"]


def test_a_step_that_fails_leaves_nothing_finished(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_words(folder)
        raise ValueError("no space left")

    with pytest.raises(ValueError, match="no space left"):
        make(tmp_path, fail)
    assert finished(tmp_path) == []
    assert make(tmp_path).outcome == "ran"


def killed(root: Path, *, resumable: bool) -> None:
    """Start the step in a process that is killed in the middle of it."""

    def kill(folder: Path) -> None:
        write_words(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(
        target=lambda: make(root, kill, resumable=resumable)
    )  # fmt: skip
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_step_leaves_nothing_finished_and_nothing_to_the_next(tmp_path: Path) -> None:
    killed(tmp_path, resumable=False)
    assert finished(tmp_path) == []
    found: list[Path] = []
    make(tmp_path, lambda folder: found.extend(folder.iterdir()))
    assert found == []


def test_a_resumable_step_finds_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(tmp_path, resumable=True)
    assert finished(tmp_path) == []
    found: list[str] = []
    folder = make(tmp_path, lambda folder: found.extend(path.name for path in folder.iterdir()), resumable=True)
    assert sorted(found) == ["second.txt", "words"]
    assert is_intact(folder.path)


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        with (tmp_path / "builds").open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        write_words(folder)

    context = multiprocessing.get_context("fork")
    outcomes = context.SimpleQueue()
    processes = [context.Process(target=lambda: outcomes.put(make(tmp_path, build).outcome)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "builds").read_text() == "built\n"
    assert sorted([outcomes.get(), outcomes.get()]) == ["ran", "reused"]
