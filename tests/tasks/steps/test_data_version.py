"""data/ holds what data.dvc names, or the run says what differs."""

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.scores.projects import write_data_pointer
from graftline.data.media_files import read_below
from graftline.errors import DataRefusedError, SettingsError
from graftline.settings import DataSettings
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.files import rows_sha256
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.workspace import Workspace
from tests.support.servers import CuttingProxy, running_proxy
from tests.support.tiers import sampled
from tests.support.tiny_media_files import write_tiny_images

SETTINGS = DataSettings(path="data/table.csv")
ALLOWING = DataSettings(path="data/table.csv", allow_modified=True)


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two saved versions, of which data.dvc names the second and data.dvc.first the first."""
    root = tmp_path_factory.mktemp("versioned")
    dvc(root, "init", "--no-scm", "--quiet")
    (root / ".dvc" / "config").write_text(
        "[core]\n  analytics = false\n  remote = here\n  no_scm = true\n"
        "['remote \"here\"']\n  url = ../remote\n  verify = true\n"
    )
    (root / "data").mkdir()
    (root / "data" / "notes.md").write_text("notes")
    for number, name in enumerate(["data.dvc.first", "data.dvc.second"]):
        (root / "data" / "table.csv").write_text(f"text,label\nrow {number},a\n")
        dvc(root, "add", "data")
        dvc(root, "push")
        (root / name).write_bytes((root / "data.dvc").read_bytes())
    return root


@pytest.fixture
def root(versioned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versioned, tmp_path / "project"))


def version(root: Path, settings: DataSettings = SETTINGS) -> tuple[bool, tuple[str, ...]]:
    found = data_version.fn(Workspace(root), settings)
    assert f"{found.version}.dir" in (root / "data.dvc").read_text()
    return found.modified, found.differing


def cached(root: Path, content: str) -> Path:
    """The cache's or the remote's object that holds `content`."""
    (path,) = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == content.encode()]
    return path


def test_the_named_version_is_accepted_without_dvc(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc.repo", None)
    assert version(root) == (False, ())


def test_a_fresh_clone_fetches_the_version(root: Path) -> None:
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    assert version(root) == (False, ())
    assert (root / "data" / "table.csv").read_text() == "text,label\nrow 1,a\n"


@pytest.fixture
def slow(root: Path) -> Iterator[CuttingProxy]:
    """The remote is a web server, which sends a byte now and then after the first four thousand of a connection."""
    (root / "data" / "large.csv").write_text("text,label\n" + "a row\n" * 10_000)
    dvc(root, "add", "data")
    dvc(root, "push")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    handler = partial(QuietHandler, directory=str(root / "remote"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with running_proxy(CuttingProxy(server.server_port, 0, cuts=0, trickle_after_bytes=4_000)) as proxy:
            config = root / ".dvc" / "config"
            config.write_text(config.read_text().replace("../remote", f"http://127.0.0.1:{proxy.port}"))
            yield proxy
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.full
def test_a_remote_that_sends_a_byte_now_and_then_ends_the_run(
    root: Path, slow: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.tasks.pace.WINDOW_SECONDS", 5.0)
    with pytest.raises(DataRefusedError, match=r"remote of data\.dvc: [\d,]+ bytes came in \d+ seconds, expected"):
        version(root)
    assert slow.sent_bytes > 1_000, "it had begun"
    monkeypatch.undo()
    slow.trickle_after_bytes = None
    assert version(root) == (False, ())
    assert (root / "data" / "large.csv").stat().st_size > 60_000


@pytest.fixture
def tiny_files(root: Path) -> Iterator[Path]:
    """The remote is a web server that thinks a while about each of many tiny files."""
    for number in range(80):
        (root / "data" / f"{number}.csv").write_text(f"{number}")
    dvc(root, "add", "data")
    dvc(root, "push")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    handler = partial(ThinkingHandler, directory=str(root / "remote"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = root / ".dvc" / "config"
        config.write_text(config.read_text().replace("../remote", f"http://127.0.0.1:{server.server_port}"))
        yield root
        server.shutdown()


class ThinkingHandler(QuietHandler):
    def do_GET(self) -> None:
        time.sleep(2)
        super().do_GET()


@pytest.mark.long  # the window has to be longer than a process takes to start, on a busy machine, too
def test_a_remote_of_many_tiny_files_is_not_taken_for_one_that_sends_next_to_nothing(
    tiny_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.tasks.pace.WINDOW_SECONDS", 12.0)
    assert version(tiny_files) == (False, ())


def test_another_saved_version_is_switched(root: Path) -> None:
    (root / "data.dvc").write_bytes((root / "data.dvc.first").read_bytes())
    assert version(root) == (False, ())
    assert (root / "data" / "table.csv").read_text() == "text,label\nrow 0,a\n"


def test_a_removed_file_comes_back(root: Path) -> None:
    (root / "data" / "notes.md").unlink()
    assert version(root) == (False, ())


def test_changes_that_are_not_saved_are_refused_by_name_and_kept(root: Path) -> None:
    (root / "data" / "table.csv").write_text("mine")
    (root / "data" / "new.csv").write_text("new")
    (root / "data" / "notes.md").unlink()
    expected = r"new\.csv \(added\), notes\.md \(missing\), table\.csv \(modified\); discard .*allow_modified=true"
    with pytest.raises(DataRefusedError, match=expected):
        version(root)
    assert (root / "data" / "table.csv").read_text() == "mine"


def test_allowed_changes_are_recorded(root: Path) -> None:
    (root / "data" / "table.csv").write_text("mine")
    assert version(root, ALLOWING) == (True, ("table.csv (modified)",))


def test_a_damaged_object_in_the_cache_is_refused(root: Path) -> None:
    path = cached(root / ".dvc" / "cache", "text,label\nrow 1,a\n")
    path.chmod(0o644)
    path.write_text("text,label\nrow 1,b\n")
    (root / "data" / "table.csv").unlink()
    with pytest.raises(DataRefusedError, match=r"the stored object is damaged; remove this file"):
        version(root)
    assert not (root / "data" / "table.csv").exists()


def test_a_damaged_listing_in_the_cache_is_refused(root: Path) -> None:
    (listing,) = [path for path in (root / ".dvc" / "cache").rglob("*.dir") if path.parent.name + path.name in
                  (root / "data.dvc").read_text()]  # fmt: skip
    listing.chmod(0o644)
    listing.write_text("[]")
    with pytest.raises(DataRefusedError, match="the stored object is damaged"):
        version(root)


def test_a_damaged_object_in_the_remote_is_refused(root: Path) -> None:
    remote = cached(root / "remote", "text,label\nrow 1,a\n")
    remote.chmod(0o644)
    remote.write_text("text,label\nrow 1,b\n")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    with pytest.raises(DataRefusedError, match="is not to be had"):
        version(root)
    assert not (root / "data" / "table.csv").exists()


def test_data_without_a_version_is_refused(root: Path) -> None:
    (root / "data.dvc").unlink()
    with pytest.raises(DataRefusedError, match=r"data\.dvc: there is no such file.*dvc add data"):
        data_version.fn(Workspace(root), SETTINGS)
    assert data_version.fn(Workspace(root), ALLOWING).differing == ("data.dvc (missing)",)


@pytest.mark.parametrize(
    ("pointers", "path", "way"),
    [
        (["data/table.csv.dvc"], "data/table.csv", "DVC has it as data/table.csv.dvc, .*`dvc remove data/table"),
        (["data/a.csv.dvc", "data/b/c.csv.dvc"], "data/a.csv", r"remove` of each \(data/a.csv.dvc, data/b/c.csv.dvc\)"),
        (["table.csv.dvc"], "table.csv", "DVC has it as table.csv.dvc, .*move table.csv into data/ and name it"),
        (["elsewhere/other.csv.dvc", "artifacts/data.dvc"], "data/table.csv", "make one with `dvc add data`,"),
    ],
)
def test_what_dvc_holds_in_place_of_the_folder_is_named_with_what_to_do(
    tmp_path: Path, pointers: list[str], path: str, way: str
) -> None:
    for pointer in pointers:
        (tmp_path / pointer).parent.mkdir(parents=True, exist_ok=True)
        name = Path(pointer).name.removesuffix(".dvc")
        (tmp_path / pointer).write_text(f"outs:\n- md5: {'0' * 32}\n  path: {name}\n")
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("text,label\n")
    with pytest.raises(DataRefusedError, match=way):
        data_version.fn(Workspace(tmp_path), DataSettings(path=path))


def test_one_file_added_to_dvc_becomes_the_folders_by_the_commands_that_are_named(tmp_path: Path) -> None:
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("text,label\nrow,a\n")
    dvc(tmp_path, "add", "data/table.csv")
    with pytest.raises(DataRefusedError) as refused:
        data_version.fn(Workspace(tmp_path), SETTINGS)
    commands = re.findall("`dvc ([^`]*)`", str(refused.value))
    assert commands == ["remove data/table.csv.dvc", "add data"]
    for command in commands:
        dvc(tmp_path, *command.split())
    assert version(tmp_path) == (False, ())


@pytest.mark.parametrize("outs", ["[data]", "[{data: {cache: true}}]", "[data/table.csv]"])
def test_data_that_a_stage_makes_are_told_to_leave_it(tmp_path: Path, outs: str) -> None:
    (tmp_path / "dvc.yaml").write_text(f"stages: {{fetch: {{cmd: 'true', outs: {outs}}}}}")
    with pytest.raises(DataRefusedError, match=r"output of the stage fetch in dvc\.yaml; take it out"):
        data_version.fn(Workspace(tmp_path), SETTINGS)


def test_right_data_need_neither_cache_nor_remote(root: Path) -> None:
    for place in (root / ".dvc" / "cache", root / "remote", root.parent / "remote"):
        shutil.rmtree(place, ignore_errors=True)
    assert version(root) == (False, ())


def test_a_version_that_nothing_holds_names_the_remote_that_is_missing(root: Path) -> None:
    (root / ".dvc" / "config").write_text("[core]\n  no_scm = true\n")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    with pytest.raises(
        DataRefusedError, match=r"is not to be had .*no remote is named: run `dvc remote add"
    ) as refused:
        version(root)
    assert "keep what lies there" not in str(refused.value)


def test_changes_are_discarded_by_the_command_that_is_named(root: Path) -> None:
    (root / "data" / "table.csv").write_text("mine")
    with pytest.raises(DataRefusedError, match=r"discard the changes with `dvc checkout --force data\.dvc`"):
        version(root)
    dvc(root, "checkout", "--force", "data.dvc")
    assert version(root) == (False, ())
    (root / "data" / "table.csv").write_text("mine")
    cached(root / ".dvc" / "cache", "text,label\nrow 1,a\n").unlink()
    with pytest.raises(DataRefusedError, match=r"`dvc fetch data\.dvc && dvc checkout --force data\.dvc`"):
        version(root)


@pytest.mark.parametrize(("kept", "way"), [(True, "git checkout data.dvc"), (False, "restore it from a backup, or")])
def test_git_is_named_only_where_there_is_a_repository(tmp_path: Path, kept: bool, way: str) -> None:
    (tmp_path / "data.dvc").write_text("")
    if kept:
        (tmp_path / ".git").mkdir()
    with pytest.raises(DataRefusedError, match=way):
        data_version.fn(Workspace(tmp_path), SETTINGS)


@pytest.mark.parametrize("content", ["", "outs: 1", "outs:\n- path: data\n  md5: ../../etc.dir", ": {"])
def test_a_pointer_that_names_no_version_is_refused(root: Path, content: str) -> None:
    (root / "data.dvc").write_text(content)
    with pytest.raises(DataRefusedError, match="names no version of the folder"):
        data_version.fn(Workspace(root), SETTINGS)


@pytest.mark.parametrize("path", ["../table.csv", "/etc/passwd", "data/../../table.csv"])
def test_a_table_outside_the_project_is_refused(root: Path, path: str) -> None:
    with pytest.raises(SettingsError, match="lies outside the project folder"):
        data_version.fn(Workspace(root), DataSettings(path=path))


def test_a_table_that_the_version_does_not_cover_is_refused(root: Path) -> None:
    (root / "table.csv").write_text("text,label\n")
    with pytest.raises(DataRefusedError, match=r"table\.csv \(not below data/\)"):
        data_version.fn(Workspace(root), DataSettings(path="table.csv"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A project whose data are a folder of class folders and a table of paths, both in its version."""
    write_tiny_images(tmp_path / "data" / "photos", 6)
    (tmp_path / "data" / "table.csv").write_text("path,label\n")
    write_data_pointer(tmp_path)
    return tmp_path


FOLDER = DataSettings(path="data/photos", kind="image", allow_modified=True)
TABLE = DataSettings(path="data/table.csv", kind="image", input="path", allow_modified=True)


def test_a_folder_of_class_folders_has_a_version(photos: Path) -> None:
    found = data_version.fn(Workspace(photos), FOLDER)
    assert (found.modified, found.sha256) == (False, rows_sha256(photos / "data", photos / FOLDER.path, FOLDER.kind))


@pytest.mark.parametrize("settings", [FOLDER, TABLE], ids=["folder", "table"])
def test_a_changed_picture_is_named_and_changes_the_digest(photos: Path, settings: DataSettings) -> None:
    before = data_version.fn(Workspace(photos), settings)
    path = next((photos / "data" / "photos" / "disc").iterdir())
    path.write_bytes(path.read_bytes() + b"!")
    after = data_version.fn(Workspace(photos), settings)
    assert after.differing == (f"photos/disc/{path.name} (modified)",)
    assert after.sha256 != before.sha256
    with pytest.raises(DataRefusedError, match=f"photos/disc/{path.name} .modified."):
        data_version.fn(Workspace(photos), settings.model_copy(update={"allow_modified": False}))


def test_a_renamed_picture_and_a_changed_table_change_the_digest(photos: Path) -> None:
    digests = {rows_sha256(photos / "data", photos / TABLE.path, TABLE.kind)}
    path = next((photos / "data" / "photos" / "disc").iterdir())
    path.rename(path.with_name("renamed.png"))
    digests.add(rows_sha256(photos / "data", photos / TABLE.path, TABLE.kind))
    (photos / "data" / "table.csv").write_text("path,label\nphotos/disc/renamed.png,disc\n")
    digests.add(rows_sha256(photos / "data", photos / TABLE.path, TABLE.kind))
    assert len(digests) == 3


def test_a_picture_beside_a_table_of_texts_changes_nothing(photos: Path) -> None:
    texts = DataSettings(path="data/table.csv")
    before = rows_sha256(photos / "data", photos / texts.path, texts.kind)
    next((photos / "data" / "photos" / "disc").iterdir()).unlink()
    assert rows_sha256(photos / "data", photos / texts.path, texts.kind) == before


def test_the_folder_that_the_path_begins_with_has_the_version(tmp_path: Path) -> None:
    (tmp_path / "tickets" / "2026").mkdir(parents=True)
    (tmp_path / "tickets" / "2026" / "table.csv").write_text("text,label\n")
    settings = DataSettings(path="tickets/2026/table.csv")
    with pytest.raises(DataRefusedError, match=r"tickets\.dvc: there is no such file.*dvc add tickets"):
        data_version.fn(Workspace(tmp_path), settings)
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    dvc(tmp_path, "add", "tickets")
    found = data_version.fn(Workspace(tmp_path), settings)
    assert (found.folder, found.differing) == ("tickets", ())
    (tmp_path / "tickets" / "more.csv").write_text("text,label\nnew,a\n")
    with pytest.raises(DataRefusedError, match=r"tickets/: 1 files differ.*more\.csv \(added\)"):
        data_version.fn(Workspace(tmp_path), settings)


@pytest.mark.parametrize("kind", sampled(["copy", "symlink", "hardlink", "reflink,copy"], "symlink"))
def test_data_are_read_through_whatever_links_dvc_makes_to_a_shared_cache(tmp_path: Path, kind: str) -> None:
    root, shared = tmp_path / "a project", tmp_path / "geteilter Zwischenspeicher für alle"
    write_tiny_images(root / "data" / "photos", 6)
    (root / "data" / "table.csv").write_text("text,label\nrow,a\n")
    (root / ".dvc").mkdir()
    # DVC reads such a name, but does not write it.
    (root / ".dvc" / "config").write_text(
        f"[core]\n  analytics = false\n  no_scm = true\n[cache]\n  dir = '../../{shared.name}'\n  type = '{kind}'\n"
    )
    dvc(root, "add", "data")
    assert cached(shared, "text,label\nrow,a\n").is_file()
    assert not (root / ".dvc" / "cache").exists()
    if kind == "symlink":
        assert (root / "data" / "table.csv").is_symlink()
    assert data_version.fn(Workspace(root), SETTINGS).differing == ()
    assert data_version.fn(Workspace(root), FOLDER).differing == ()
    picture = next((root / "data" / "photos").glob("*/*.png")).relative_to(root / "data").as_posix()
    assert read_below(root / "data", picture, cache=objects_folder(root)).startswith(b"\x89PNG")
    # A version that is only in the cache is checked out of it.
    (root / "data" / "table.csv").unlink()
    assert data_version.fn(Workspace(root), SETTINGS).differing == ()
    assert (root / "data" / "table.csv").read_text() == "text,label\nrow,a\n"


def test_files_that_dvc_ignores_and_no_row_is_read_from_play_no_part(root: Path) -> None:
    (root / ".dvcignore").write_text("# what editors leave\n*.tmp\n.DS_Store\n")
    for name in ("x.tmp", ".DS_Store"):
        (root / "data" / name).write_text("left behind")
    assert version(root) == (False, ())
    shutil.rmtree(root / ".dvc" / "cache")
    assert version(root) == (False, ())
    (root / "data" / "y.new").write_text("not ignored")
    with pytest.raises(DataRefusedError, match=r"1 files differ .*: y\.new \(added\)"):
        version(root)


def test_a_table_that_dvc_ignores_is_refused_with_what_helps(root: Path) -> None:
    (root / ".dvcignore").write_text("table.csv\n")
    dvc(root, "add", "data")
    with pytest.raises(DataRefusedError, match=r"\.dvcignore keeps table\.csv out of every version: take it out of"):
        data_version.fn(Workspace(root), SETTINGS)


def test_a_version_that_dvc_2_wrote_says_how_to_bring_it_over(root: Path) -> None:
    pointer = root / "data.dvc"
    (root / "data" / "table.csv").write_bytes(b"text,label\r\nrow 1,a\r\n")
    pointer.write_text(f"outs:\n- md5: {32 * 'a'}.dir\n  path: data\n")
    with pytest.raises(DataRefusedError, match=r"was written by DVC 2, .*`dvc cache migrate --dvc-files`"):
        version(root)


def test_a_merge_that_git_left_open_is_called_that(root: Path) -> None:
    pointer = root / "data.dvc"
    said = pointer.read_text()
    pointer.write_text(f"<<<<<<< HEAD\n{said}=======\n{said}>>>>>>> other\n")
    with pytest.raises(DataRefusedError, match=r"a merge that git left open; .*`git checkout --ours data\.dvc`"):
        version(root)
