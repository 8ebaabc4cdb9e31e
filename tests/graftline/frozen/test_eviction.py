"""Feature stores below one limit: the least recently used goes first, and none that is in use."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.frozen import eviction
from graftline.frozen.eviction import DISK_MARGIN_BYTES, EVICTED, make_room, open_feature_store
from graftline.frozen.store import INDEX, USE, VALUES, FeatureStore, FeatureStoreFullError, lock_of

# One entry of 100 numbers, and what it takes with its record.
ROW = {"row": torch.arange(100.0)}
ROW_BYTES = 448
PLENTY = 1 << 40


def fill(root: Path, key: str, limit_bytes: int = PLENTY) -> list[str]:
    """Put one row into a store of its own. Returns: which stores were evicted for it."""
    with open_feature_store(root, key, precision="float32", limit_bytes=limit_bytes) as store:
        for row in store.missing(ROW):
            store.reserve(ROW_BYTES)
            store.add({row: ROW[row]})
        return store.evicted


def keys(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


def size_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.name in (VALUES, INDEX))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=5),
    st.randoms(),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_the_fewest_least_recently_used_are_evicted_that_make_room_or_none(
    others: list[tuple[int, bool]], random: Random, needed: int, limit: int, free: int
) -> None:
    turns = random.sample(range(1, 9), len(others))
    own = 3
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as locks:
        root = Path(temporary)
        for number, (size, is_open) in enumerate([*others, (own, True)]):
            (root / str(number)).mkdir()
            (root / str(number) / VALUES).write_bytes(b"x" * size)
            if number < len(others):
                (root / str(number) / USE).write_text(json.dumps({"turn": turns[number], "reserved_bytes": 0}))
            if is_open:
                locks.enter_context(lock_of(root / str(number)))
        usage = SimpleNamespace(free=DISK_MARGIN_BYTES + free)
        locks.enter_context(patch.object(shutil, "disk_usage", lambda path: usage))

        closed = [n for n in sorted(range(len(others)), key=lambda n: turns[n]) if not others[n][1]]
        total = own + sum(size for size, _ in others)
        expected: list[str] | None = None
        for count in range(len(closed) + 1):
            freed = sum(others[n][0] for n in closed[:count])
            fits_disk = needed == 0 or needed <= free + freed
            if expected is None and total + needed - freed <= limit and fits_disk:
                expected = [str(n) for n in closed[:count]]
        if expected is None and not needed:
            expected = [str(n) for n in closed]

        folder = root / str(len(others))
        if expected is None:
            with pytest.raises(FeatureStoreFullError):
                make_room(folder, needed, limit_bytes=limit)
        else:
            assert make_room(folder, needed, limit_bytes=limit) == expected
        assert keys(root) == {str(n) for n in range(len(others) + 1)} - set(expected or [])


def test_the_store_that_was_opened_longest_ago_is_evicted_even_in_a_copy(tmp_path: Path) -> None:
    for key in ("a", "b", "c", "a"):
        fill(tmp_path / "root", key)
    shutil.copytree(tmp_path / "root", tmp_path / "copy", copy_function=shutil.copyfile)
    limit = 3 * ROW_BYTES
    assert [fill(tmp_path / "copy", key, limit) for key in ("d", "e", "f")] == [["b"], ["c"], ["a"]]


def test_a_store_that_is_open_is_not_evicted(tmp_path: Path) -> None:
    limit = 2 * ROW_BYTES
    fill(tmp_path, "a")
    fill(tmp_path, "b")
    with open_feature_store(tmp_path, "a", precision="float32", limit_bytes=limit):
        fill(tmp_path, "b")
        assert fill(tmp_path, "c", limit) == ["b"]
    assert keys(tmp_path) == {"a", "c"}


def test_what_an_open_store_has_reserved_is_not_given_to_another(tmp_path: Path) -> None:
    limit = 3 * ROW_BYTES
    with open_feature_store(tmp_path, "a", precision="float32", limit_bytes=limit) as first:
        first.reserve(2 * ROW_BYTES)
        assert fill(tmp_path, "b", limit) == []
        first.reserve(3 * ROW_BYTES)
        with pytest.raises(FeatureStoreFullError):
            fill(tmp_path, "c", limit)
    assert fill(tmp_path, "c", limit) == []


def test_a_store_that_cannot_fit_is_refused_and_costs_no_other(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    with open_feature_store(tmp_path, "b", precision="float32", limit_bytes=1_000_000) as store:
        with pytest.raises(FeatureStoreFullError, match=r"b needs 2\.0 MB more, .* leaves 1\.0 MB; raise"):
            store.reserve(2_000_000)
        store.add(ROW)
        assert store.missing(ROW) == []
    assert keys(tmp_path) == {"a", "b"}


def test_a_disk_with_too_little_free_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=DISK_MARGIN_BYTES + 5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with open_feature_store(tmp_path, "a", precision="float32", limit_bytes=PLENTY) as store:
        store.reserve(5_000_000)
        with pytest.raises(
            FeatureStoreFullError, match=r"margin of 1,073\.7 MB the disk has only 5\.0 MB; free some space"
        ):
            store.reserve(5_000_001)


def test_a_disk_without_any_space_is_told_when_a_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FeatureStoreFullError, match="No space left"):
        fill(tmp_path, "a")


def test_adding_more_than_was_reserved_keeps_to_the_limit_and_to_what_is_kept(tmp_path: Path) -> None:
    limit = 4 * ROW_BYTES
    added = 0
    with open_feature_store(tmp_path, "a", precision="float32", limit_bytes=limit) as store:
        with pytest.raises(FeatureStoreFullError):  # noqa: PT012 - which of the adds it is, is the question
            for number in range(9):
                store.add({f"row-{number}": ROW["row"]})
                added += 1
        assert store.missing(f"row-{number}" for number in range(9)) == [f"row-{n}" for n in range(added, 9)]
    assert added == 4


def test_a_lowered_limit_takes_effect_and_leaves_the_store_that_is_opened(tmp_path: Path) -> None:
    for key in ("a", "b", "c"):
        fill(tmp_path, key)
    with open_feature_store(tmp_path, "b", precision="float32", limit_bytes=ROW_BYTES // 2) as store:
        assert store.evicted == ["a", "c"]
        assert torch.equal(store.batch(["row"])[0], ROW["row"])
    assert keys(tmp_path) == {"b"}


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"[]", b"{}", b'{"turn": null, "reserved_bytes": 0}'])
def test_a_store_whose_use_is_unknown_is_evicted_first(tmp_path: Path, damaged: bytes) -> None:
    for key in ("a", "b"):
        fill(tmp_path, key)
    (tmp_path / "b" / USE).write_bytes(damaged)
    assert fill(tmp_path, "c", 2 * ROW_BYTES) == ["b"]


def test_folders_that_are_no_stores_are_neither_counted_nor_evicted(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "long.txt").write_text("x" * 10_000)
    assert fill(tmp_path, "a", ROW_BYTES) == []
    assert fill(tmp_path, "b", ROW_BYTES) == ["a"]
    assert keys(tmp_path) == {"notes", "b"}


def test_a_store_that_lost_one_of_its_files_is_evicted_like_any_other(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (tmp_path / "a" / VALUES).unlink()
    with open_feature_store(tmp_path, "b", precision="float32", limit_bytes=0) as store:
        assert store.evicted == ["a"]


def test_a_session_that_waited_for_a_store_which_was_evicted_meanwhile_begins_anew(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    found: list[list[str]] = []

    def second() -> None:
        with FeatureStore(tmp_path / "a") as store:
            found.append(store.missing(ROW))
            store.add(ROW)

    with lock_of(tmp_path / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        shutil.rmtree(tmp_path / "a")
    thread.join(10)
    assert found == [["row"]]
    with FeatureStore(tmp_path / "a") as store:
        assert store.missing(ROW) == []


def test_a_session_that_has_to_wait_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    told = threading.Event()
    said: list[str] = []

    def tell(sentence: str) -> None:
        said.append(sentence)
        told.set()

    def second() -> None:
        with open_feature_store(tmp_path, "a", precision="float32", limit_bytes=PLENTY, say=tell) as store:
            assert store.missing(ROW) == []

    with lock_of(tmp_path / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(10)
    thread.join(10)
    second()
    assert said == ["frozen part: another run has what is kept in a open; this one waits until that one has trained"]


def test_a_run_that_makes_room_is_not_taken_for_one_that_has_the_store_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a")
    told = threading.Event()

    def second() -> None:
        with open_feature_store(
            tmp_path, "a", precision="float32", limit_bytes=PLENTY, say=lambda _: told.set()
        ) as store:
            assert store.missing(ROW) == []

    thread = threading.Thread(target=second)
    disk_usage = shutil.disk_usage

    def meanwhile(path: Path) -> object:
        if not thread.ident:
            thread.start()  # here the locks of all closed stores are held
            told.wait(0.3)
        return disk_usage(path)

    with FeatureStore(tmp_path / "b"):
        monkeypatch.setattr(shutil, "disk_usage", meanwhile)
        make_room(tmp_path / "b", ROW_BYTES, limit_bytes=PLENTY)
    thread.join(10)
    assert (thread.is_alive(), told.is_set()) == (False, False)


def test_what_a_store_grew_by_until_its_lock_is_tried_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ExitStack()
    other = session.enter_context(open_feature_store(tmp_path, "a", precision="float32", limit_bytes=PLENTY))
    other.reserve(ROW_BYTES)

    def just_finished(folder: Path) -> object:
        other.add(ROW)
        session.close()
        return lock_of(folder)

    with FeatureStore(tmp_path / "b"):
        monkeypatch.setattr(eviction, "lock_of", just_finished)
        assert make_room(tmp_path / "b", ROW_BYTES, limit_bytes=ROW_BYTES + ROW_BYTES // 2) == ["a"]


@pytest.mark.full
def test_wherever_a_run_is_killed_each_store_is_whole_or_gone_and_the_next_run_works(tmp_path: Path) -> None:
    """In a process of its own: it forks, and threads that other tests left would be forked with it."""
    program = f"import sys, pathlib, {__name__} as here\nhere.kill_everywhere(pathlib.Path(sys.argv[1]))\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def kill_everywhere(folder: Path) -> None:
    """Kill a run in front of each of its file operations, each time in a copy of the same stores."""
    fill(folder / "before", "a")
    was_evicted: set[bool] = set()
    for operation in count():
        root = folder / f"{operation}"
        shutil.copytree(folder / "before", root)
        if not killed_at(operation, partial(fill, root, "b", ROW_BYTES)):
            break
        whole = keys(root) - {EVICTED, ".b.new"}
        assert all(uses(root, key) == {"turn", "reserved_bytes"} for key in whole), f"after {operation} file operations"
        if "a" in whole:
            with FeatureStore(root / "a") as store:
                assert torch.equal(store.batch(["row"])[0], ROW["row"])
        fill(root, "b", ROW_BYTES)
        assert keys(root) == {"b"}
        was_evicted.add("a" not in whole)
    assert was_evicted == {False, True}


def killed_at(operation: int, act: Callable[[], object]) -> bool:
    """Whether a process that acts so was killed, in front of the file operation with this number."""
    events = iter(range(operation))

    def kill(event: str, _: object) -> None:
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and next(events, None) is None:
            signal.raise_signal(signal.SIGKILL)

    def child() -> None:
        sys.addaudithook(kill)
        act()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def uses(root: Path, key: str) -> set[str]:
    return set(json.loads((root / key / USE).read_bytes()))


@pytest.mark.full
def test_many_processes_at_once_keep_to_the_limit(tmp_path: Path) -> None:
    limit = 3 * ROW_BYTES
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        outcomes = pool.starmap(fill_or_say_why_not, [(tmp_path, f"{n % 6}", limit) for n in range(60)], chunksize=1)
    assert set(outcomes) <= {"filled", "full"}
    assert "filled" in outcomes
    assert 0 < size_bytes(tmp_path) <= limit
    for key in keys(tmp_path):
        with FeatureStore(tmp_path / key) as store:
            assert store.missing(ROW) in ([], ["row"])
        assert uses(tmp_path, key) == {"turn", "reserved_bytes"}


def fill_or_say_why_not(root: Path, key: str, limit_bytes: int) -> str:
    try:
        fill(root, key, limit_bytes)
    except FeatureStoreFullError:
        return "full"
    with FeatureStore(root / key) as store:
        assert store.missing(ROW) in ([], ["row"])  # another process may have evicted it since
    return "filled"
