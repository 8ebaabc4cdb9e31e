"""What a run needs follows from its base model and strategy, and what is free from the narrowest limit."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from graftline.errors import NoRoomError
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks import room
from graftline.tasks.room import Room, free_memory, needed_room, require_room

MINILM_BYTES = 91_000_000
FINE_TUNING, FEATURES = AdaptationSettings(strategy="fine_tuning"), AdaptationSettings(strategy="feature_extraction")


def system(tmp_path: Path, group: str, **files: str) -> tuple[Path, Path]:
    """A /proc with 8 GB free and 1 GB of swap, and control groups with these files below their top."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\nSwapFree: 1000000 kB\n")
    (proc / "self" / "cgroup").write_text(group)
    for name, content in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return proc, groups


def test_without_control_groups_the_machines_memory_and_swap_count(tmp_path: Path) -> None:
    assert free_memory(*system(tmp_path, "")) == 9_000_000 * 1024
    assert free_memory(tmp_path / "nothing") is None


def test_the_narrowest_group_around_a_process_counts_without_what_is_cached(tmp_path: Path) -> None:
    files = {
        "pod/memory.max": "3000000000", "pod/memory.current": "1000000000",
        "pod/memory.stat": "inactive_file 400000000",
        "pod/run/memory.max": "max", "pod/run/memory.current": "5", "pod/run/memory.stat": "anon 5",
    }  # fmt: skip
    assert free_memory(*system(tmp_path, "0::/pod/run\n", **files)) == 2_400_000_000


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    files = {
        f"memory/box/memory.{name}": content
        for name, content in {
            "limit_in_bytes": "2000000000", "usage_in_bytes": "500000000", "stat": "total_inactive_file 100000000",
        }.items()
    }  # fmt: skip
    assert free_memory(*system(tmp_path, "4:memory:/box\n0::/\n", **files)) == 1_600_000_000


def test_in_a_container_the_top_counts_where_the_path_is_the_machines(tmp_path: Path) -> None:
    files = {"memory.max": "1000000000", "memory.current": "300000000", "memory.stat": ""}
    assert free_memory(*system(tmp_path, "0::/machine/of/somebody\n", **files)) == 700_000_000


def test_training_all_weights_needs_more_than_a_head(tmp_path: Path) -> None:
    all_of_it, head = needed_room(FINE_TUNING, MINILM_BYTES), needed_room(FEATURES, MINILM_BYTES)
    assert all_of_it.memory - head.memory == 4 * MINILM_BYTES
    assert all_of_it.disk - head.disk == 12 * MINILM_BYTES
    half = AdaptationSettings(strategy="partial", freeze_until="0.5")
    assert needed_room(half, MINILM_BYTES) == head  # nobody knows yet how much is trained


def test_a_run_that_will_not_fit_is_refused_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_room(tmp_path, FINE_TUNING, 0)
    monkeypatch.setattr(room, "free_memory", lambda: 900_000_000)
    with pytest.raises(
        NoRoomError, match=r"memory: 0\.9 GB are free, a run with strategy fine_tuning needs about 1\.8"
    ):
        require_room(tmp_path, FINE_TUNING, MINILM_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500_000_000))
    with pytest.raises(NoRoomError, match=r"0\.5 GB are free on the disk, .* needs about 1\.5 GB; make room"):
        require_room(tmp_path, FINE_TUNING, MINILM_BYTES)


# Measured with MiniLM on 1,200 and 160 of the film reviews: the highest sums over all processes of a run of what no
# file holds, and of what lay in artifacts/, mlflow/ and reports/, without what earlier runs had left.
@pytest.mark.parametrize(
    ("settings", "used"),
    [
        (FEATURES, Room(disk=191_000_000, memory=1_506_000_000)),
        (FINE_TUNING, Room(disk=1_176_000_000, memory=1_592_000_000)),
    ],
    ids=["feature_extraction", "fine_tuning"],
)
def test_the_estimate_lies_between_what_was_used_and_twice_that(settings: AdaptationSettings, used: Room) -> None:
    needed = needed_room(settings, MINILM_BYTES)
    assert 0.75 * used.memory < needed.memory < 2 * used.memory
    assert 0.75 * used.disk < needed.disk < 2.5 * used.disk
