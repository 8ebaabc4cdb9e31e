"""What no run of any machine needs goes from a team's state, once it has lain there for days."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graftline.tasks.garbage import find_garbage
from graftline.tasks.state.folders import GRACE_SECONDS, keep_unfinished
from graftline.tasks.state.shared import STATE
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.step_uses import noting_uses, read_uses
from graftline.tasks.workspace import Workspace

LONG_SECONDS = 40 * 24 * 3600.0


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return tmp_path / "state"


def run(workspace: Workspace, number: int, version: int | None = 1) -> StepFolder:
    """A run that ended with a version, or not."""

    def build(folder: Path) -> None:
        (folder / "own").write_text(str(number))
        (folder / "common").write_text("the same in all")

    with noting_uses(workspace, "tiny") as ended_with:
        made = produce(
            workspace, "step", depends_on={"number": number}, code=["graftline.files"], libraries=[], build=build
        )
        if version:
            ended_with(version)
    return made


def age(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds,) * 2)


def removed(workspace: Workspace) -> list[str]:
    found = [one for one in find_garbage(workspace, keep_rejected=10) if "/state/" in one.what]
    assert all(one.remove() for one in found)
    return [one.what.partition("/state/")[2] for one in found]


def files(state: Path) -> int:
    return len([path for path in (state / "files").iterdir() if not path.name.startswith(".")])


def test_what_only_an_earlier_run_needed_goes_and_what_the_newest_needs_stays(state: Path, tmp_path: Path) -> None:
    first, second = Workspace(tmp_path / "first"), Workspace(tmp_path / "second")
    old, new = run(first, 1), run(second, 2)
    assert files(state) == 3
    assert removed(first) == ["uses"]  # all the rest came just now
    age(state, 2 * GRACE_SECONDS)
    # By the runs of the other machine the first one knows what is still needed.
    assert removed(first)[0] == f"steps/step/{old.key}"
    assert files(state) == 2
    third = Workspace(tmp_path / "third")
    assert run(third, 2).outcome == "reused"
    assert run(third, 1).outcome == "ran"
    assert new.key


def test_the_note_of_the_newest_run_stays_and_so_does_all_that_it_needs(state: Path, tmp_path: Path) -> None:
    first = Workspace(tmp_path / "first")
    old, new = run(first, 1), run(first, 2)
    for _ in range(3):  # each finds what the one before left
        assert all(one.remove() for one in find_garbage(first, keep_rejected=10))
        age(state, 2 * GRACE_SECONDS)
    assert [len(read_uses(first)), len(list((state / "uses").glob("*.use")))] == [1, 1]
    assert (new.path.exists(), old.path.exists()) == (True, False)
    assert run(Workspace(tmp_path / "second"), 2).outcome == "reused"


def test_what_was_sent_again_since_it_was_found_stays(state: Path, tmp_path: Path) -> None:
    first = Workspace(tmp_path / "first")
    run(first, 1)
    run(first, 2)
    age(state, 2 * GRACE_SECONDS)
    found = find_garbage(first, keep_rejected=10)
    age(state, 0)
    files_found = [one for one in found if "/state/" in one.what and "/uses" not in one.what]
    assert files_found
    assert not any(one.remove() for one in files_found)
    assert run(Workspace(tmp_path / "second"), 1).outcome == "reused"


def test_a_file_that_was_about_to_go_is_sent_again_before_it_is_named(state: Path, tmp_path: Path) -> None:
    first = Workspace(tmp_path / "first")
    run(first, 1)
    age(state, 2 * GRACE_SECONDS)
    run(first, 2)
    common = [path for path in (state / "files").iterdir() if path.is_file() and path.read_text() == "the same in all"]
    assert [time.time() - path.stat().st_mtime < GRACE_SECONDS / 2 for path in common] == [True]


@pytest.mark.parametrize(("seconds", "goes"), [(2 * GRACE_SECONDS, False), (LONG_SECONDS, True)])
def test_what_a_killed_training_left_stays_for_a_month(state: Path, tmp_path: Path, seconds: float, goes: bool) -> None:
    first = Workspace(tmp_path / "first")
    run(first, 1)
    left = tmp_path / "fine_tune" / ".KEY.partial"
    left.mkdir(parents=True)
    (left / "checkpoint").write_text("1")
    keep_unfinished(left)
    age(state / "unfinished", seconds)
    assert ("unfinished/fine_tune/KEY" in removed(first)) == goes


def test_without_a_run_that_was_noted_nothing_goes(state: Path, tmp_path: Path) -> None:
    build: Callable[[Path], None] = lambda folder: (folder / "x").touch()  # noqa: E731
    workspace = Workspace(tmp_path / "first")
    produce(workspace, "step", depends_on={}, code=["graftline.files"], libraries=[], build=build)
    age(state, LONG_SECONDS)
    assert removed(workspace) == []
