"""The feature store: what is appended comes back, and what was damaged is computed again."""

import errno
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graftline.frozen import store as feature_store
from graftline.frozen.store import INDEX, USE, VALUES, FeatureStore, FeatureStoreFullError
from graftline.frozen.store_index import FeatureIndex, StoredPrecision, key_digest
from tests.support.tiny_model_files import flip_byte

PRECISIONS: tuple[StoredPrecision, ...] = ("float32", "bfloat16")
precisions = st.sampled_from(PRECISIONS)
lengths = st.lists(st.integers(0, 6), min_size=1, max_size=12)
no_empty_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=12)
tails = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def entries() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    return {f"row-{tokens}": torch.randn(tokens, 3, generator=random) for tokens in (2, 5, 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with three entries of 2, 5 and 1 tokens."""
    with FeatureStore(tmp_path / "store") as store:
        store.add(entries())
    return tmp_path / "store"


def ragged(lengths: list[int], tail: tuple[int, ...], precision: StoredPrecision) -> dict[str, Tensor]:
    """An entry for each length, of random numbers that the precision can hold."""
    random = torch.Generator().manual_seed(0)
    dtype = getattr(torch, precision)
    return {f"row-{row}": torch.randn(of, *tail, generator=random).to(dtype) for row, of in enumerate(lengths)}


def read(folder: Path, wanted: Mapping[str, Tensor]) -> dict[str, bool]:
    """For each intact key: is it what was put in?"""
    with FeatureStore(folder) as store:
        intact = [key for key in wanted if key not in store.missing(wanted)]
        return {key: torch.equal(store.batch([key])[0], wanted[key]) for key in intact}


def test_a_new_store_lacks_every_key_once(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        assert store.missing(["b", "a", "b"]) == ["b", "a"]


def test_what_was_added_is_read_in_the_same_session(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.add(entries())
        assert torch.equal(store.batch(["row-5"])[0], entries()["row-5"])


def test_what_was_added_is_read_by_the_next_session(folder: Path) -> None:
    assert read(folder, entries()) == {"row-2": True, "row-5": True, "row-1": True}


def test_a_store_that_is_opened_without_a_limit_has_a_use_too(folder: Path) -> None:
    assert json.loads((folder / USE).read_bytes()) == {"turn": 0, "reserved_bytes": 0}


def test_a_batch_is_padded_with_zeros_to_its_longest_entry(folder: Path) -> None:
    with FeatureStore(folder) as store:
        batch = store.batch(["row-2", "row-5"])
    assert batch.shape == (2, 5, 3)
    assert (torch.equal(batch[0, :2], entries()["row-2"]), int(batch[0, 2:].count_nonzero())) == (True, 0)


def test_vectors_come_back_as_rows(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.add({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])})
        assert store.batch(["b", "a", "b"]).tolist() == [[3, 4], [1, 2], [3, 4]]


def test_a_batch_belongs_to_its_caller(folder: Path) -> None:
    with FeatureStore(folder) as store:
        store.batch(["row-2"]).zero_()
    assert read(folder, entries())["row-2"]


def test_only_new_keys_are_missing_when_data_grows(folder: Path) -> None:
    with FeatureStore(folder) as store:
        assert store.missing(["row-5", "new", "row-1"]) == ["new"]


@pytest.mark.parametrize("lost_bytes", [1, 12, 13, 36])
def test_a_values_file_that_was_cut_loses_only_the_entries_at_its_end(folder: Path, lost_bytes: int) -> None:
    content = (folder / VALUES).read_bytes()
    (folder / VALUES).write_bytes(content[:-lost_bytes])
    survivors = {"row-2": True, "row-5": True} if lost_bytes <= 12 else {"row-2": True}
    assert read(folder, entries()) == survivors


def test_entries_added_after_a_cut_values_file_are_read(folder: Path) -> None:
    (folder / VALUES).write_bytes((folder / VALUES).read_bytes()[:-13])
    with FeatureStore(folder) as store:
        store.add({key: entries()[key] for key in store.missing(entries())})
    assert read(folder, entries()) == {"row-2": True, "row-5": True, "row-1": True}


@settings(deadline=None)
@given(no_empty_lengths, tails, precisions, st.data())
def test_whatever_is_cut_off_the_rest_is_kept_and_the_lost_can_be_added(
    lengths: list[int], tail: tuple[int, ...], precision: StoredPrecision, data: st.DataObject
) -> None:
    wanted = ragged(lengths, tail, precision)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        with FeatureStore(folder, precision) as store:
            for key, entry in wanted.items():
                store.add({key: entry})
        for name in (VALUES, INDEX):
            size = (folder / name).stat().st_size
            os.truncate(folder / name, data.draw(st.integers(0, size), label=f"{name} bytes left"))
        with FeatureStore(folder, precision) as store:
            lost = store.missing(wanted)
            assert lost == list(wanted)[len(wanted) - len(lost) :]
            kept = [key for key in wanted if key not in lost]
            store.add({key: wanted[key] for key in reversed(lost)})
            assert all(torch.equal(store.batch([key])[0], wanted[key]) for key in [*kept, *lost])
        with FeatureStore(folder, precision) as store:
            assert store.missing(wanted) == []
            assert all(torch.equal(store.batch([key])[0], entry) for key, entry in wanted.items())


@settings(deadline=None)
@given(lengths, tails, precisions, st.data())
def test_no_flipped_bit_gives_a_wrong_value(
    lengths: list[int], tail: tuple[int, ...], precision: StoredPrecision, data: st.DataObject
) -> None:
    wanted = ragged(lengths, tail, precision)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        with FeatureStore(folder, precision) as store:
            store.add(wanted)
        path = folder / data.draw(st.sampled_from([name for name in (VALUES, INDEX) if (folder / name).stat().st_size]))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        with FeatureStore(folder, precision) as store:
            lost = store.missing(wanted)
            assert len(lost) == 1
            assert all(torch.equal(store.batch([key])[0], wanted[key]) for key in wanted if key not in lost)


@pytest.mark.parametrize(("position", "damaged"), [(0, "row-2"), (24, "row-5"), (-1, "row-1")])
def test_an_entry_with_a_flipped_byte_is_missing(folder: Path, position: int, damaged: str) -> None:
    flip_byte(folder / VALUES, position)
    with FeatureStore(folder) as store:
        assert store.missing(entries()) == [damaged]


def test_a_second_session_waits_until_the_first_is_over(folder: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with FeatureStore(folder):
            entered.set()

    with FeatureStore(folder) as first:
        thread = threading.Thread(target=second)
        thread.start()
        was_kept_out = not entered.wait(0.3)
        first.add({"late": torch.ones(2)})
    thread.join(10)
    assert (was_kept_out, entered.is_set()) == (True, True)


@settings(deadline=None)
@given(lengths, tails, precisions, st.data())
def test_any_batch_of_any_entries_is_theirs_padded(
    lengths: list[int], tail: tuple[int, ...], precision: StoredPrecision, data: st.DataObject
) -> None:
    wanted = ragged(lengths, tail, precision)
    keys = data.draw(st.lists(st.sampled_from(list(wanted)), min_size=1, max_size=9))
    with tempfile.TemporaryDirectory() as temporary, FeatureStore(Path(temporary) / "store", precision) as store:
        store.add(wanted)
        batch = store.batch(keys)
    assert torch.equal(batch, torch.nn.utils.rnn.pad_sequence([wanted[key] for key in keys], batch_first=True))


def test_entries_without_axes_make_a_vector(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "store") as store:
        store.add({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
        assert store.batch(["b", "a"]).tolist() == [2, 1]


def test_a_bfloat16_store_rounds_as_torch_does_and_takes_half_the_room(tmp_path: Path) -> None:
    values = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    with FeatureStore(tmp_path / "store", "bfloat16") as store:
        store.add({"a": values})
        assert torch.equal(store.batch(["a"])[0], values.bfloat16())
    assert (tmp_path / "store" / VALUES).stat().st_size == 64 * 3 * 2


def test_entries_of_another_precision_are_missing_and_stay(tmp_path: Path) -> None:
    odd = {"a": torch.ones(3)}
    for precision in (*PRECISIONS[::-1], *PRECISIONS[::-1]):
        with FeatureStore(tmp_path / "store", precision) as store:
            lost = store.missing(odd)
            store.add({key: odd[key] for key in lost})
            assert torch.equal(store.batch(["a"])[0], odd["a"].to(getattr(torch, precision)))
    assert lost == []


def test_a_key_without_an_entry_is_named(folder: Path) -> None:
    with FeatureStore(folder) as store, pytest.raises(KeyError, match="row-9"):
        store.batch(["row-5", "row-9"])


def test_entries_that_fit_no_batch_are_refused(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "store") as store:
        store.add({"a": torch.ones(2, 3), "b": torch.ones(2, 1), "c": torch.ones(2)})
        for pair in (["a", "b"], ["a", "c"]):
            with pytest.raises(ValueError, match="length of their first axis"):
                store.batch(pair)


def test_an_entry_with_too_many_axes_is_refused(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "store") as store, pytest.raises(ValueError, match="5 axes, expected at most 4"):
        store.add({"a": torch.ones(1, 1, 1, 1, 1)})


def test_reading_and_adding_in_turn_gives_what_was_put_in(tmp_path: Path) -> None:
    values = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    with FeatureStore(tmp_path / "store") as store:
        for end in range(1, 61):
            store.add({f"row-{end - 1}": values[end - 1]})
            assert torch.equal(store.batch([f"row-{row}" for row in range(end)]), values[:end])


def test_letting_go_of_mapped_pages_changes_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "RESIDENT_BYTES", 0)
    values = torch.randn(50, 2000, generator=torch.Generator().manual_seed(0))
    keys = [f"row-{row}" for row in range(50)]
    with FeatureStore(tmp_path / "store") as store:
        store.add(dict(zip(keys, values, strict=True)))
        assert store.missing(keys) == []
        assert torch.equal(store.batch(keys), values)
        assert torch.equal(store.batch(keys[::-1]), values.flip(0))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells how much of a file is mapped")
def test_what_was_read_does_not_stay_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "RESIDENT_BYTES", 1 << 20)
    keys = [f"row-{row}" for row in range(16)]
    with FeatureStore(tmp_path / "store") as store:
        store.add({key: torch.ones(1 << 17) for key in keys})  # 8 MiB in all
        assert store.missing(keys) == []
        assert mapped_bytes(tmp_path / "store" / VALUES) <= 2 << 20
        for key in keys:
            store.batch([key])
        assert mapped_bytes(tmp_path / "store" / VALUES) <= 2 << 20


def mapped_bytes(path: Path) -> int:
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    return int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) * 1024


def test_needed_bytes_are_what_the_files_grow_by(tmp_path: Path) -> None:
    for precision in PRECISIONS:
        wanted = ragged([3, 0, 5], (2, 4), precision)
        with FeatureStore(tmp_path / precision, precision) as store:
            needed = store.needed_bytes(tuple(entry.shape) for entry in wanted.values())
            store.add(wanted)
        assert sum((tmp_path / precision / name).stat().st_size for name in (VALUES, INDEX)) == needed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("free_bytes", [0, 1, 47, 50, 100, 110])
def test_a_disk_that_fills_up_is_told_and_the_store_stays_usable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, number: int
) -> None:
    more = {"new-1": torch.ones(3, 3), "new-2": torch.zeros(1, 3)}  # 48 bytes of values, 96 of index
    before = [(folder / name).stat().st_size for name in (VALUES, INDEX)]
    with FeatureStore(folder) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", disk_with(free_bytes, number))
            with pytest.raises(FeatureStoreFullError, match=r"cannot grow: .*; free some space on its disk"):
                store.add(more)
        assert [(folder / name).stat().st_size for name in (VALUES, INDEX)] == before
        assert store.missing([*entries(), *more]) == list(more)
        store.add(more)
    assert all(read(folder, entries() | more).values())
    assert len(read(folder, entries() | more)) == 5


def disk_with(free_bytes: int, number: int) -> object:
    """An `os.pwrite` that writes so many bytes and then fails with this error, as a disk does that fills up."""
    write, left = os.pwrite, [free_bytes]

    def pwrite(descriptor: int, content: bytes, offset: int) -> int:
        if not left[0]:
            raise OSError(number, os.strerror(number))
        written = write(descriptor, content[: left[0]], offset)
        left[0] -= written
        return written

    return pwrite


def test_another_error_of_the_disk_stays_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeatureStore(folder) as store:
        monkeypatch.setattr(os, "pwrite", disk_with(0, errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            store.add({"a": torch.ones(1)})


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 30).map(str), max_size=8), max_size=12))
def test_the_index_finds_what_a_dictionary_would(adds: list[list[str]]) -> None:
    index = FeatureIndex()
    expected: dict[str, int] = {}
    for number, keys in enumerate(adds):
        rows = dict.fromkeys(keys)
        digests = np.array([key_digest(key) for key in rows], "S16")
        index.add(digests, np.full(len(rows), number, np.uint32))
        expected |= dict.fromkeys(rows, number)
    asked = [str(number) for number in range(31)]
    numbers, found = index.find(asked)
    assert {key: int(number) for key, number, hit in zip(asked, numbers, found, strict=True) if hit} == expected
