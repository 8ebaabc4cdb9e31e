"""What is spread over workers comes to what one process makes of it, one after the other."""

from pathlib import Path

import pytest

from graftline.tasks.workers.fanout import Needs, ThisProcess, fanned_out, workers
from graftline.tasks.workspace import Workspace
from tests.support import pieces
from tests.support.spread_work import ThroughPickles, Work, compared, found_by, ranked, searched, write_candidates


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candidates(tmp_path_factory.mktemp("spread") / "project")


@pytest.mark.parametrize("work", [ranked, searched, compared])
def test_what_is_found_is_the_same_whoever_does_the_work_in_whatever_order(
    project: Path, tmp_path: Path, work: Work
) -> None:
    there = found_by(ThroughPickles(), work, project, tmp_path / "there")
    assert there == found_by(ThisProcess(), work, project, tmp_path / "here")


def test_without_a_file_the_work_is_done_here_in_order(tmp_path: Path) -> None:
    with fanned_out(Workspace(tmp_path)):
        assert isinstance(workers(), ThisProcess)
        assert [value for value, _ in workers().map(pieces.squared, 0, range(3), Needs())] == [0, 1, 4]
