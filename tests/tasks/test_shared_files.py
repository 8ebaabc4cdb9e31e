"""Equal files lie on the disk once, and a damaged one is never handed on."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from graftline.digests import file_sha256
from graftline.tasks import shared_files
from graftline.tasks.shared_files import SMALLEST_BYTES, share
from graftline.tasks.step_folders import StepFolder, is_intact, produce
from graftline.tasks.workspace import Workspace
from tests.support.tiny_model_files import flip_byte

CONTENT = os.urandom(SMALLEST_BYTES)


def make(root: Path, number: int, content: bytes = CONTENT, *, resumable: bool = False) -> StepFolder:
    """A step of that number with one large file."""
    return produce(
        Workspace(root),
        "a_step",
        depends_on={"number": number},
        code=(shared_files.__name__,),
        libraries=(),
        build=lambda folder: write(folder / "weights", content),
        resumable=resumable,
    )


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def weights_of(step: StepFolder) -> Path:
    return step.path / "weights"


def kept_of(root: Path) -> list[Path]:
    return sorted(Workspace(root).shared_files.iterdir())


def has_clones(root: Path) -> bool:
    """Whether the file system shares bytes without links."""
    write(root / "one", CONTENT)
    return shared_files._clone(root / "one", root / "two")


def test_equal_files_of_two_steps_are_one_that_nobody_may_write_to(tmp_path: Path) -> None:
    if has_clones(tmp_path):
        pytest.skip("on this file system each stays a file of its own")
    first, second = weights_of(make(tmp_path, 1)), weights_of(make(tmp_path, 2))
    assert first.samefile(second)
    assert stat.S_IMODE(first.stat().st_mode) == 0o444
    assert [path.name for path in kept_of(tmp_path)] == [file_sha256(first)]


def test_small_and_different_files_stay_apart(tmp_path: Path) -> None:
    steps = [
        make(tmp_path, 1),
        make(tmp_path, 2, CONTENT[1:]),
        make(tmp_path, 3, CONTENT[1:]),
        make(tmp_path, 4, CONTENT[::-1]),
    ]
    assert len({weights_of(step).stat().st_ino for step in steps}) == 4


def test_a_byte_that_flips_is_noticed_in_all_that_share_it_and_not_handed_on(tmp_path: Path) -> None:
    first, second = make(tmp_path, 1), make(tmp_path, 2)
    flip_byte(weights_of(first))
    if not has_clones(tmp_path):
        assert not is_intact(second.path)
    third = make(tmp_path, 3)
    assert weights_of(third).read_bytes() == CONTENT
    again = [make(tmp_path, 1), make(tmp_path, 2)]
    assert again[0].outcome == "ran"
    assert [weights_of(step).read_bytes() for step in (*again, third)] == [CONTENT] * 3
    assert all(is_intact(step.path) for step in (*again, third))


def test_who_goes_on_with_a_killed_step_does_not_write_into_shared_files(tmp_path: Path) -> None:
    finished = make(tmp_path, 1)
    going_on = make(tmp_path, 2)
    # As a kill right before the last rename leaves it.
    going_on.path.rename(going_on.path.with_name(f".{going_on.key}.partial"))
    again = make(tmp_path, 2, CONTENT[::-1], resumable=True)
    assert weights_of(again).read_bytes() == CONTENT[::-1]
    assert weights_of(finished).read_bytes() == CONTENT


def test_many_processes_share_at_once(tmp_path: Path) -> None:
    def many(first: int) -> None:
        for number in range(first, first + 10):
            make(tmp_path, number)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=many, args=(10 * place,)) for place in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    folders = [make(tmp_path, number) for number in range(40)]
    assert {folder.outcome for folder in folders} == {"reused"}
    assert len(kept_of(tmp_path)) == 1


def test_without_clones_and_links_each_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shared_files, "_clone", lambda *_: False)
    assert not weights_of(make(tmp_path, 1)).samefile(weights_of(make(tmp_path, 2)))


def test_what_was_removed_meanwhile_is_shared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, 1)
    looked_at = shared_files._is_whole

    def then_removed(kept: Path, path: Path, sha256: str) -> bool:
        whole = looked_at(kept, path, sha256)
        if whole:
            kept.unlink()
        return whole

    monkeypatch.setattr(shared_files, "_is_whole", then_removed)
    write(tmp_path / "new", CONTENT)
    share(Workspace(tmp_path).shared_files, {tmp_path / "new": file_sha256(tmp_path / "new")})
    assert len(kept_of(tmp_path)) == 1
    assert (tmp_path / "new").read_bytes() == CONTENT
