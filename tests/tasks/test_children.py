"""Nothing that was started outlives who started it, also not when that is killed; scratch and runs are mended later."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graftline.tasks.children import run_child
from graftline.tasks.living_runs import living, mend_lost
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.workspace import Workspace
from tests.support.running_project import wait_until
from tests.support.shell import own_code

# A program and a grandchild of it, in a group of their own or in ours; both told by their ids.
PARENT = """
import subprocess, sys, os
from pathlib import Path
from graftline.flows.servers.services import service
from graftline.tasks.children import run_child
family = [sys.executable, "-c", '''
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
open("told", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(60)
''']
alone = [sys.executable, "-c", "import os, time; open('told', 'w').write(str(os.getpid())); time.sleep(60)"]
if sys.argv[1] == "group":
    with service("it", family, folder=Path.cwd(), environment=os.environ, log=Path("log")) as one:
        one.process.wait()
else:
    run_child(alone, folder=Path.cwd(), environment=os.environ)
"""


@pytest.mark.parametrize("what", ["group", "one"])
def test_who_started_it_is_killed_and_it_ends_too(tmp_path: Path, what: str) -> None:
    told = tmp_path / "told"
    environment = {**os.environ, **own_code()}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, what], cwd=tmp_path, env=environment)
    wait_until(lambda: told.exists() and told.read_text() != "")
    started = [int(one) for one in told.read_text().split()]
    assert all(map(alive, started))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(map(alive, started)), seconds=10)
    wait_until(lambda: keepers_of(started) == [], seconds=10)


def test_a_child_that_ends_by_itself_leaves_nothing_and_tells_how(tmp_path: Path) -> None:
    done = run_child(["sh", "-c", "echo said; exit 3"], folder=tmp_path, environment=os.environ)
    assert (done.returncode, done.stdout) == (3, "said\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["sleep", "60"], folder=tmp_path, environment=os.environ, seconds=0.1)


def test_scratch_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    left = tmp_path / "artifacts" / "scratch" / "left"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"0" * 1000)
    left.with_suffix(".lock").touch()
    with scratch_folder(workspace) as first:
        assert not left.exists()
        with scratch_folder(workspace) as second:
            assert first.is_dir()
            assert second != first
    assert list(left.parent.iterdir()) == []


def test_a_run_whose_process_is_gone_is_mended_once_and_no_other(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    told: list[str] = []

    def mend(run: str) -> bool:
        told.append(run)
        return run != "of another server"

    mend_lost(workspace, mend)
    with living(workspace, "here"):
        for lost in ("lost", "of another server"):  # a kill leaves a note that nobody locks
            (tmp_path / "artifacts" / "living_runs" / lost).touch()
        mend_lost(workspace, mend)
        assert sorted(told) == ["lost", "of another server"]
        mend_lost(workspace, mend)
        assert sorted(told) == ["lost", "of another server", "of another server"]
    assert [note.name for note in (tmp_path / "artifacts" / "living_runs").iterdir()] == ["of another server"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def keepers_of(pids: list[int]) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"graftline-keeper" in words and abs(int(words[-2])) in pids:
            found.append(int(folder.name))
    return found
