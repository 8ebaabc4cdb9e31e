"""SIGKILL at every change that `put_in_place` makes to a file: the old version or the new one is there, and whole.

Each try forks: its child copies nothing into memory but what is loaded by now, begins the next version, and kills
itself at the n-th file that it opens for writing, renames, links, makes or removes.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

import dvc.repo  # noqa: F401 - loaded once, before the forks

from graftline.data.edited_tables import Edits
from graftline.settings import DataSettings
from graftline.tasks.data.origins import Origin, note_origin
from graftline.tasks.rows.draft import drafted, put_in_place
from graftline.tasks.rows.whole_version import whole_version
from graftline.tasks.workspace import Workspace

SETTINGS = DataSettings(path="data/rows.csv")
OLD, NEW = "text,label\nold,a\n", "text,label\nold,a\nnew,b\n"
CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST_CHANGES = 10_000


def begin_project(root: Path) -> None:
    """A project with one saved version."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "rows.csv").write_text(OLD)
    (root / "data" / "notes.md").write_text("notes")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n  analytics = false\n  no_scm = true\n")

    def add() -> None:
        from graftline.tasks.data.dvc_folder import open_repo

        with open_repo(root) as repo:
            repo.add([str(root / "data")])

    assert in_child(add) == 0


def make_next(root: Path) -> None:
    """The next version, with one row more."""
    workspace = Workspace(root)
    version = whole_version(workspace, SETTINGS)
    with drafted(workspace, SETTINGS, version) as draft:
        draft.edit_table(Edits(added=[{"text": "new", "label": "b"}]))

        def note(name: str) -> None:
            note_origin(root, "data", Origin(name, version.version, "feedback", {"added": 1}, "", [], "test"))

        put_in_place(draft, note)


def killed_at(number: int) -> None:
    """Let this process die at its n-th change of a file."""
    left = number

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a fork of this process. Returns: how it ended, below 0 by a signal."""
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            work()
            ended = 0
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fault_after(root: Path) -> str | None:
    """What is wrong with a project after a kill, as the next run finds it, and as the next command leaves it."""
    if in_child(lambda: _require_whole(root)) != 0:
        return "the next run does not find a whole version"
    if (root / "data" / "rows.csv").read_text() == NEW:
        return None
    if in_child(lambda: make_next(root)) != 0:
        return "the next command does not make the version"
    lines = (root / "data_origins.jsonl").read_text().splitlines()
    leftovers = [path.name for path in root.iterdir() if path.name.endswith(".next")]
    return None if len(lines) == 1 and not leftovers else f"left: {lines}, {leftovers}"


def _require_whole(root: Path) -> None:
    text = (root / "data" / "rows.csv").read_text() if (root / "data" / "rows.csv").exists() else None
    version = whole_version(Workspace(root), SETTINGS)
    after = (root / "data" / "rows.csv").read_text()
    assert text in (None, OLD, NEW), text
    assert after in (OLD, NEW), after
    assert f"{version.version}.dir" in (root / "data.dvc").read_text()
    assert (root / "data" / "notes.md").read_text() == "notes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try each n-th change only")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        begin_project(template)
        for number in range(0, MOST_CHANGES, options.every):
            root = Path(shutil.copytree(template, Path(folder) / "project"))

            def work(root: Path = root, number: int = number) -> None:
                killed_at(number)
                make_next(root)

            ended = in_child(work)
            counts = (root / "data.dvc").read_text() != (template / "data.dvc").read_text()
            fault = fault_after(root)
            found[f"faults: {fault} (killed at change {number})" if fault else "new" if counts else "old"] += 1
            shutil.rmtree(root)
            if ended == 0:
                break
    print(f"{sum(found.values())} kills: {', '.join(f'{what} {count}' for what, count in found.items())}")
    return 0 if set(found) == {"old", "new"} else 1


if __name__ == "__main__":
    sys.exit(main())
