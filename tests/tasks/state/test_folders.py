"""Two machines with one state: what one of them has made, or left unfinished, the other one gets from there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graftline.errors import SettingsError
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.folders import FILES, STEPS, bring_store, files_in, keep_unfinished, send_store
from graftline.tasks.state.shared import STATE, State, shared_state
from graftline.tasks.step_folders import MANIFEST, StepFolder, is_intact, produce
from graftline.tasks.workspace import Workspace

STEP = "some_step"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A folder; a bucket is in tests/flows/test_two_machines.py."""
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    found = shared_state()
    assert found is not None
    return found


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Workspace, Workspace]:
    return Workspace(tmp_path / "first"), Workspace(tmp_path / "second")


def write(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "numbers.txt").write_text("1 2 3")
    (folder / "empty").touch()


def make(workspace: Workspace, build: Callable[[Path], None] = write, *, resumable: bool = False) -> StepFolder:
    return produce(
        workspace, STEP, depends_on={"x": 1}, code=["graftline.files"], libraries=[], build=build, resumable=resumable
    )


def never(folder: Path) -> None:
    raise AssertionError(f"made again: {folder}")


def test_what_one_machine_made_another_one_has_without_making_it(
    state: State, machines: tuple[Workspace, Workspace]
) -> None:
    made, brought = make(machines[0]), make(machines[1], never)
    assert (made.outcome, brought.outcome) == ("ran", "reused")
    assert made.key == brought.key
    assert made.path != brought.path
    assert is_intact(brought.path)
    assert (brought.path / "deep" / "numbers.txt").read_text() == "1 2 3"
    assert (brought.path / MANIFEST).read_bytes() == (made.path / MANIFEST).read_bytes()


def test_what_was_made_before_there_was_a_state_comes_there_at_its_next_use(
    machines: tuple[Workspace, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(machines[0])
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    make(machines[0], never)
    assert make(machines[1], never).outcome == "reused"


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed"])
def test_what_was_damaged_in_the_state_is_made_again_and_is_whole_there_afterwards(
    state: State, machines: tuple[Workspace, Workspace], tmp_path: Path, damage: str
) -> None:
    make(machines[0])
    for file in (Path(state.address) / FILES).iterdir():
        content = file.read_bytes()
        if damage == "removed":
            file.unlink()
        elif content:
            file.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert make(machines[1]).outcome == "ran"
    third = Workspace(tmp_path / "third")
    assert make(third, never).outcome == "reused"
    assert is_intact(third.artifacts / STEP / make(third, never).key)


def test_what_was_changed_on_its_way_is_brought_again_and_stays_in_the_state(
    state: State, machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(machines[0])
    download, changed = Folder.download, list[str]()

    def change_once(self: Folder, name: str, path: Path) -> bool:
        there = download(self, name, path)
        if not changed:
            changed.append(name)
            path.write_bytes(b"something else")
        return there

    monkeypatch.setattr(Folder, "download", change_once)
    assert make(machines[1], never).outcome == "reused"
    assert changed


def test_a_damaged_folder_here_comes_from_there(state: State, machines: tuple[Workspace, Workspace]) -> None:
    folder = make(machines[0]).path
    (folder / "deep" / "numbers.txt").write_text("1 2 4")
    assert make(machines[0], never).outcome == "reused"
    assert (folder / "deep" / "numbers.txt").read_text() == "1 2 3"


def test_a_list_that_leads_out_of_the_folder_is_not_followed(
    state: State, machines: tuple[Workspace, Workspace], tmp_path: Path
) -> None:
    key = make(machines[0]).key
    listed = Path(state.address) / STEPS / STEP / f"{key}.json"
    values = json.loads(listed.read_text())
    values["files"] = {"../../../../escaped": next(iter(values["files"].values()))}
    listed.write_text(json.dumps(values))
    assert make(machines[1]).outcome == "ran"
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("listing", [b"", b"[]", b"{}", b'{"files": 1}', b'{"files": {"/etc/x": "0"}}', b"\xff"])
def test_a_list_that_is_none_names_no_files(listing: bytes) -> None:
    assert files_in(listing) is None


def test_what_a_killed_machine_left_another_one_goes_on_from(
    state: State, machines: tuple[Workspace, Workspace]
) -> None:
    def killed(folder: Path) -> None:
        (folder / "checkpoints" / "step-1").mkdir(parents=True)
        (folder / "checkpoints" / "step-1" / "weights").write_text("1")
        keep_unfinished(folder)
        (folder / "checkpoints" / "step-1" / "weights").unlink()
        (folder / "checkpoints" / "step-2").mkdir()
        (folder / "checkpoints" / "step-2" / "weights").write_text("2")
        (folder / "checkpoints" / ".partial").touch()
        keep_unfinished(folder)
        (folder / "checkpoints" / "step-3").mkdir()  # of which nobody will know
        raise KeyboardInterrupt

    def goes_on(folder: Path) -> None:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert found == ["checkpoints/step-2/weights"]
        assert (folder / "checkpoints" / "step-2" / "weights").read_text() == "2"
        write(folder)

    with pytest.raises(KeyboardInterrupt):
        make(machines[0], killed, resumable=True)
    assert make(machines[1], goes_on, resumable=True).outcome == "ran"
    # Nobody needs it any more.
    left = [path.name for path in (Path(state.address) / "unfinished").rglob("*") if path.is_file()]
    assert [name for name in left if not name.startswith(".")] == []
    # The first one, back again, does not go on with its own.
    assert make(machines[0], never, resumable=True).outcome == "reused"


def test_of_what_two_machines_left_the_one_goes_on_from_what_the_other_left_later(
    state: State, machines: tuple[Workspace, Workspace]
) -> None:
    found = list[str]()

    def killed_at(step: str, *, sent: bool = True) -> Callable[[Path], None]:
        def build(folder: Path) -> None:
            checkpoint = folder / "checkpoint"
            found.append(checkpoint.read_text() if checkpoint.exists() else "")
            checkpoint.write_text(step)
            if sent:
                keep_unfinished(folder)
            raise KeyboardInterrupt

        return build

    for machine, step, sent in [(0, "1", True), (1, "7", True), (0, "8", False), (0, "9", True)]:
        with pytest.raises(KeyboardInterrupt):
            make(machines[machine], killed_at(step, sent=sent), resumable=True)
    # What this machine could not send is newer than what it knows to lie there.
    assert found == ["", "1", "7", "8"]
    make(machines[1], lambda folder: found.append((folder / "checkpoint").read_text()), resumable=True)
    assert found[-1] == "9"
    assert not list((machines[1].artifacts / STEP).glob(".*.sent"))


def test_a_feature_store_is_brought_where_there_is_none_and_sent_where_it_grew(state: State, tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "KEY", tmp_path / "second" / "KEY"
    first.mkdir(parents=True)
    second.parent.mkdir()
    names = ("values.bin", "index.bin")

    def hold(folder: Path, content: str) -> None:
        for name in names:
            (folder / name).write_text(content)

    prepared: list[Path] = []
    hold(first, "rows")
    send_store(state, "KEY", first, names)
    bring_store(state, "KEY", second, limit_bytes=7, prepare=prepared.append)
    assert not second.exists()  # no room for it
    bring_store(state, "KEY", second, limit_bytes=8, prepare=prepared.append)
    assert len(prepared) == 1
    assert (second / "values.bin").read_text() == "rows"
    hold(second, "more rows")
    send_store(state, "KEY", second, names)
    send_store(state, "KEY", first, names)  # has fewer, and so nothing to say
    third = tmp_path / "third"
    bring_store(state, "KEY", third, limit_bytes=100, prepare=prepared.append)
    assert (third / "index.bin").read_text() == "more rows"


@pytest.mark.parametrize("address", ["state", "s3://", "s3://bucket/../up", "http://server/state", "~/state"])
def test_an_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE, address)
    with pytest.raises(SettingsError, match=r"^GRAFTLINE_STATE=.*expected the absolute path of a folder .* or s3://"):
        shared_state()


def test_without_an_address_all_stays_in_the_project_folder(
    machines: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STATE, raising=False)
    assert shared_state() is None
    assert [make(one).outcome for one in machines] == ["ran", "ran"]
