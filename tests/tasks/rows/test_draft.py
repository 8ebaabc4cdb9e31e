"""The next version takes the place of the data whole, keeps the old one, and waits for nobody's run to be disturbed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graftline.data.edited_tables import Edits
from graftline.errors import DataRefusedError
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.rows.draft import drafted, put_in_place
from graftline.tasks.rows.whole_version import whole_version
from graftline.tasks.workspace import Workspace
from tests.hunts.next_version import NEW, OLD, SETTINGS, make_next


def dvc(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versioned")
    dvc(root, "init", "--no-scm", "--quiet")
    (root / "data" / "more").mkdir(parents=True)
    (root / "data" / "rows.csv").write_text(OLD)
    (root / "data" / "more" / "notes.md").write_text("notes")
    dvc(root, "add", "data")
    return root


@pytest.fixture
def root(versioned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versioned, tmp_path / "project"))


def test_the_next_version_is_named_and_both_are_saved(root: Path) -> None:
    before = (root / "data.dvc").read_text()
    make_next(root)
    assert (root / "data" / "rows.csv").read_text() == NEW
    assert (root / "data" / "more" / "notes.md").read_text() == "notes"
    assert dvc(root, "status").strip() == "Data and pipelines are up to date."
    (root / "data.dvc").write_text(before)
    dvc(root, "checkout")
    assert (root / "data" / "rows.csv").read_text() == OLD
    assert not [path for path in root.iterdir() if "next" in path.name]


def test_what_a_person_wrote_into_the_dvc_file_stays(root: Path) -> None:
    pointer = root / "data.dvc"
    pointer.write_text(pointer.read_text() + "  desc: reviews of the spring\nmeta:\n  owner: anna  # ask her\n")
    make_next(root)
    assert "  desc: reviews of the spring\nmeta:\n  owner: anna  # ask her\n" in pointer.read_text()


def test_an_old_version_that_the_cache_lacks_is_saved_first(root: Path) -> None:
    objects = objects_folder(root)
    for path in [path for path in objects.rglob("*") if path.is_file()]:
        path.unlink()
    before = (root / "data.dvc").read_text()
    make_next(root)
    (root / "data.dvc").write_text(before)
    dvc(root, "checkout")
    assert (root / "data" / "rows.csv").read_text() == OLD


def test_while_a_run_reads_the_data_they_are_not_replaced(root: Path) -> None:
    before = (root / "data.dvc").read_text()
    with (
        data_in_use(Workspace(root)),
        pytest.raises(DataRefusedError, match="a run of this project reads the data now"),
    ):
        make_next(root)
    assert ((root / "data.dvc").read_text(), (root / "data" / "rows.csv").read_text()) == (before, OLD)
    make_next(root)


def test_two_commands_do_not_make_the_next_version_at_once(root: Path) -> None:
    workspace = Workspace(root)
    with (
        drafted(workspace, SETTINGS, whole_version(workspace, SETTINGS)),
        pytest.raises(DataRefusedError, match="another command makes the next version now"),
    ):
        make_next(root)


def test_changes_that_are_in_no_version_are_refused_and_kept(root: Path) -> None:
    (root / "data" / "rows.csv").write_text("mine")
    with pytest.raises(DataRefusedError, match=r"rows\.csv \(modified\)"):
        make_next(root)
    assert (root / "data" / "rows.csv").read_text() == "mine"


def test_a_change_while_a_person_was_asked_is_refused_and_kept(root: Path) -> None:
    workspace = Workspace(root)
    with drafted(workspace, SETTINGS, whole_version(workspace, SETTINGS)) as draft:
        draft.edit_table(Edits(added=[{"text": "new", "label": "b"}]))
        (root / "data" / "rows.csv").write_text("mine")
        with pytest.raises(DataRefusedError, match="have changed since they were looked at"):
            put_in_place(draft, lambda _: None)
    assert (root / "data" / "rows.csv").read_text() == "mine"


def test_an_edit_of_the_draft_does_not_reach_the_data(root: Path) -> None:
    workspace = Workspace(root)
    with drafted(workspace, SETTINGS, whole_version(workspace, SETTINGS)) as draft:
        draft.edit_table(Edits(added=[{"text": "new", "label": "b"}]))
        draft.write_file("more/notes.md", b"other")
        assert (draft.data / "rows.csv").read_text() == NEW
    assert (root / "data" / "rows.csv").read_text() == OLD
    assert (root / "data" / "more" / "notes.md").read_text() == "notes"


def test_data_that_are_a_link_are_refused(root: Path) -> None:
    (root / "data").rename(root / "kept")
    (root / "data").symlink_to(root / "kept")
    with pytest.raises(DataRefusedError, match="is a link or lies on another disk"):
        make_next(root)


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_kill_at_any_change_of_a_file_leaves_the_old_version_or_the_new() -> None:
    """The hunt in its small form, in a process of its own: it forks, and this one has threads."""
    hunt = [sys.executable, "-m", "tests.hunts.next_version", "--every", "9"]
    done = subprocess.run(hunt, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
