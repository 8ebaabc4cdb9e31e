"""What a team's state has may go from this disk, the least recently used first; nothing else does."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from graftline.errors import SettingsError
from graftline.tasks import cache
from graftline.tasks.cache import LIMIT, cache_limit, trim_cache
from graftline.tasks.state.folders import STEPS
from graftline.tasks.state.shared import STATE
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.workspace import Workspace

MEGABYTE = 1_000_000


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    return Workspace(tmp_path / "project")


def make(workspace: Workspace, number: int) -> StepFolder:
    """A step of a megabyte, in a run of its own."""

    def build(folder: Path) -> None:
        (folder / "content").write_bytes(bytes([number]) * MEGABYTE)

    with noting_uses(workspace, "tiny"):
        return produce(
            workspace, "step", depends_on={"number": number}, code=["graftline.files"], libraries=[], build=build
        )


def test_the_least_recently_used_go_until_the_rest_is_within_the_limit(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make(workspace, number) for number in range(4)]
    make(workspace, 0)  # is used again
    assert trim_cache(workspace) == []
    monkeypatch.setenv(LIMIT, "0.0025")
    assert trim_cache(workspace) == [f"step/{made[number].key}" for number in (1, 2)]
    assert [folder.path.exists() for folder in made] == [True, False, False, True]
    assert len(list(workspace.shared_files.glob("*"))) in (0, 2)
    # They come back from the state, unharmed.
    assert make(workspace, 1).outcome == "reused"


def test_what_the_state_lacks_or_a_run_needs_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, needed = make(workspace, 0), make(workspace, 1)
    (workspace.root.parent / "state" / STEPS / "step" / f"{alone.key}.json").unlink()
    monkeypatch.setenv(LIMIT, "0")
    with noting_uses(workspace, "tiny"):
        produce(
            workspace, "step", depends_on={"number": 1}, code=["graftline.files"], libraries=[], build=lambda _: None
        )
        assert trim_cache(workspace) == []
    assert alone.path.exists()
    assert needed.path.exists()
    assert trim_cache(workspace) == [f"step/{needed.key}"]


def test_what_a_run_took_that_began_meanwhile_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(workspace, 0)
    monkeypatch.setenv(LIMIT, "0")
    size_of = cache._size_of
    with ExitStack() as run:

        def begin_a_run(folder: Path) -> int:
            run.enter_context(noting_uses(workspace, "tiny"))
            produce(
                workspace,
                "step",
                depends_on={"number": 0},
                code=["graftline.files"],
                libraries=[],
                build=lambda _: None,
            )
            return size_of(folder)

        monkeypatch.setattr(cache, "_size_of", begin_a_run)
        assert trim_cache(workspace) == []
        assert made.path.exists()


@pytest.mark.parametrize("said", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, said)
    with pytest.raises(SettingsError, match=r"^GRAFTLINE_CACHE_GIGABYTES=.*expected a number of gigabytes"):
        cache_limit()
