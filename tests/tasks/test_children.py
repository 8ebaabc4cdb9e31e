"""Nothing that was started outlives who started it, also not when that is killed; scratch and runs are mended later."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from graftline.tasks.children import run_child
from graftline.tasks.living_runs import living, mend_lost
from graftline.tasks.scratch import scratch_folder, temporary_folder
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


def test_temporary_folders_of_killed_processes_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("graftline-left", "graftline-ray", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    for lock in ("graftline-left.lock", "another.lock"):
        (tmp_path / lock).touch()
    (tmp_path / "graftline-ray.lock").symlink_to(tmp_path / "another.lock")
    with temporary_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with temporary_folder():
            assert folder.is_dir()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"graftline-ray", "another"}
    assert not (tmp_path / "graftline-left.lock").exists()


REMOVING = """
import sys, time
from pathlib import Path
from graftline.tasks.children import removed_with_us
with removed_with_us(Path("kept for now"), Path("never there")):
    Path("kept for now/in it").mkdir(parents=True)
    print("ready", flush=True)
    time.sleep(60 if sys.argv[1] == "killed" else 0)
    assert Path("kept for now").exists()
"""


@pytest.mark.parametrize("how", ["killed", "well"])
def test_what_is_to_go_with_a_process_goes_however_that_ends(tmp_path: Path, how: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", REMOVING, how], cwd=tmp_path, env={**os.environ, **own_code()}, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if how == "killed":
            # As Ray does: the children first.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in [*map(int, children), process.pid]:
                os.kill(pid, signal.SIGKILL)
    assert process.returncode == (-signal.SIGKILL if how == "killed" else 0)
    wait_until(lambda: not list(tmp_path.iterdir()), seconds=10)


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
