"""The feature store: what is appended comes back, and what was damaged is computed again."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graftline.feature_store import INDEX, VALUES, FeatureStore
from tests.model_folders import flip_byte


def entries() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    return {f"row-{tokens}": torch.randn(tokens, 3, generator=random) for tokens in (2, 5, 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with three entries of 2, 5 and 1 tokens."""
    with FeatureStore(tmp_path / "store") as store:
        store.add(entries())
    return tmp_path / "store"


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


def test_an_index_line_that_was_cut_loses_only_its_entry(folder: Path) -> None:
    (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:-4])
    assert read(folder, entries()) == {"row-2": True, "row-5": True}


def test_the_entry_added_after_a_cut_index_line_is_not_swallowed_by_it(folder: Path) -> None:
    (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:-4])
    with FeatureStore(folder) as store:
        store.add({"row-1": entries()["row-1"]})
    assert read(folder, entries()) == {"row-2": True, "row-5": True, "row-1": True}


@pytest.mark.parametrize(("position", "damaged"), [(0, "row-2"), (24, "row-5"), (-1, "row-1")])
def test_an_entry_with_a_flipped_byte_is_missing(folder: Path, position: int, damaged: str) -> None:
    flip_byte(folder / VALUES, position)
    with FeatureStore(folder) as store:
        assert store.missing(entries()) == [damaged]


def test_no_flipped_byte_of_the_index_gives_a_wrong_value(folder: Path) -> None:
    clean = (folder / INDEX).read_bytes()
    for position in range(len(clean)):
        (folder / INDEX).write_bytes(clean)
        flip_byte(folder / INDEX, position)
        assert all(read(folder, entries()).values())


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"7\n", b'["a", "b", 3, null]\n', b"[]\n"])
def test_a_damaged_index_line_is_passed_over(folder: Path, line: bytes) -> None:
    (folder / INDEX).write_bytes(line + (folder / INDEX).read_bytes())
    assert len(read(folder, entries())) == 3


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
