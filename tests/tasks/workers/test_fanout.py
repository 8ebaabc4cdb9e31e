"""What is spread over workers comes to what one process makes of it, one after the other."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from graftline.tasks.workers.fanout import Needs, ThisProcess, fanned_out, workers
from graftline.tasks.workers.piece import _require_folder
from graftline.tasks.workspace import Workspace
from tests.support import pieces
from tests.support.spread_work import ThroughPickles, Work, compared, found_by, ranked, searched, write_candidates

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candidates(tmp_path_factory.mktemp("spread") / "project")


@pytest.mark.parametrize("work", [ranked, searched, compared])
def test_what_is_found_is_the_same_whoever_does_the_work_in_whatever_order(
    project: Path, tmp_path: Path, work: Work
) -> None:
    there = found_by(ThroughPickles(), work, project, tmp_path / "there")
    assert there == found_by(ThisProcess(), work, project, tmp_path / "here")


class FarAway(ThroughPickles):
    """Workers on machines that share no disk with this one."""

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        if needs.project is not None:
            _require_folder(needs.project.root, "a folder that only this machine sees")
        return super().map(function, shared, items, needs)


@pytest.mark.full
def test_baselines_are_made_here_where_workers_do_not_see_the_project(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = found_by(FarAway(), compared, project, tmp_path / "there")
    assert "the workers do not see the project folder" in caplog.text
    assert there == found_by(ThisProcess(), compared, project, tmp_path / "here")


def test_without_a_file_the_work_is_done_here_in_order(tmp_path: Path) -> None:
    with fanned_out(Workspace(tmp_path)):
        assert isinstance(workers(), ThisProcess)
        assert [value for value, _ in workers().map(pieces.squared, 0, range(3), Needs())] == [0, 1, 4]
