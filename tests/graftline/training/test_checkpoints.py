"""Checkpoints: whole or not there, and the one before where the newest is damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graftline.training.checkpoints import CHEAP_SHARE, KEPT, STATE, TENSORS, Pace, newest_checkpoint, save_checkpoint
from tests.support.tiny_model_files import flip_byte


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"weights": torch.full((3,), float(step))}, {"step": step, "loss": 0.1 + step})


def newest_step(folder: Path) -> object:
    checkpoint = newest_checkpoint(folder)
    return None if checkpoint is None else checkpoint.state["step"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert (newest_checkpoint(tmp_path), newest_checkpoint(tmp_path / "missing")) == (None, None)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor(1.5), "b": torch.get_rng_state(), "c": torch.randn(4, 3).T}
    save_checkpoint(tmp_path, 7, tensors, {"loss": 0.1 + 0.2})
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state == {"loss": 0.1 + 0.2}
    assert {name for name, tensor in checkpoint.tensors.items() if torch.equal(tensor, tensors[name])} == {
        "a",
        "b",
        "c",
    }


def test_the_highest_step_is_the_newest(tmp_path: Path) -> None:
    save(tmp_path, 9, 10, 100)
    assert newest_step(tmp_path) == 100


def test_only_the_newest_ones_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000003", "step-000000004"]
    assert KEPT == 2


def test_a_step_that_is_saved_again_replaces_itself(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save_checkpoint(tmp_path, 5, {"weights": torch.zeros(1)}, {"step": 5, "loss": 0.0})
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state["loss"] == 0.0


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / TENSORS),
        lambda folder: flip_byte(folder / TENSORS),
        lambda folder: (folder / TENSORS).unlink(),
        lambda folder: cut(folder / STATE),
        lambda folder: (folder / STATE).unlink(),
        lambda folder: (folder / STATE).write_text("[]"),
        lambda folder: (folder / STATE).write_text((folder / STATE).read_text().replace('"step": 2', '"step": 3')),
        lambda folder: (folder / STATE).write_bytes(b"\xff"),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-000000002")
    assert newest_step(tmp_path) == 1


def test_two_damaged_checkpoints_are_none(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for folder in list(tmp_path.iterdir()):
        cut(folder / TENSORS)
    assert newest_checkpoint(tmp_path) is None


def test_a_write_that_was_cut_off_is_no_checkpoint_and_is_in_nobodys_way(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / TENSORS).write_bytes(b"half")
    before = newest_step(tmp_path)
    save(tmp_path, 2)
    assert (before, newest_step(tmp_path)) == (1, 2)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_a_checkpoint_is_due_after_so_much_work_and_cheap_if_it_takes_a_small_share_of_it() -> None:
    clock = Clock()
    pace = Pace(60.0, clock)
    clock.pass_by(1.0)
    assert (pace.is_due, pace.is_cheap) == (False, True)  # what the first one costs is not known

    pace.write(lambda: clock.pass_by(0.5))
    for seconds, expected in [
        (0.0, (False, False)),
        (24.9, (False, False)),
        (0.2, (False, True)),
        (35.0, (True, True)),
    ]:
        clock.pass_by(seconds)
        assert (pace.is_due, pace.is_cheap) == expected

    pace.write(lambda: clock.pass_by(9.0))  # so much that it is cheap only long after it is due
    clock.pass_by(61.0)
    assert (pace.is_due, pace.is_cheap) == (True, False)
    assert 9.0 / CHEAP_SHARE > 61.0


def test_a_checkpoint_that_fails_is_still_to_be_written() -> None:
    clock = Clock()
    pace = Pace(60.0, clock)
    clock.pass_by(61.0)

    def fails() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        pace.write(fails)
    assert pace.is_due
