"""Vectors in a file are read as if they were a tensor."""

import pickle

import pytest
import torch

from graftline.frozen import vectors
from graftline.frozen.rows import FeatureRows
from graftline.frozen.vectors import FiledVectors, in_blocks, kept_vectors, room_for

ROWS, WIDTH = 23, 5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_NUMBERS", 4 * WIDTH)


@pytest.fixture
def whole() -> torch.Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


def test_ranges_masks_places_and_blocks_are_those_of_the_tensor(whole: torch.Tensor) -> None:
    filed = FiledVectors.written(iter(torch.split(whole, 7)), WIDTH)
    mask = torch.arange(ROWS) % 3 == 1
    assert len(filed) == ROWS
    assert torch.equal(filed.together(), whole)
    assert [len(block) for _, block in in_blocks(filed)] == [4, 4, 4, 4, 4, 3]
    for taken, expected in ((filed[5:19], whole[5:19]), (filed[5:19][2:4], whole[7:9]), (filed[mask], whole[mask])):
        assert isinstance(taken, FiledVectors)
        assert torch.equal(taken.together(), expected)
    there: FiledVectors = pickle.loads(pickle.dumps(filed[5:19]))
    assert torch.equal(there.together(), whole[5:19])
    assert torch.equal(filed[[3, 22, 3]], whole[[3, 22, 3]])  # type: ignore[arg-type]


def test_only_many_vectors_lie_in_a_file(whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    few = kept_vectors(iter(torch.split(whole, 4)), ROWS)
    assert isinstance(few, torch.Tensor)
    assert torch.equal(few, whole)
    monkeypatch.setattr(vectors, "MOST_NUMBERS", ROWS * WIDTH - 1)
    many = kept_vectors(iter(torch.split(whole, 4)), ROWS)
    assert isinstance(many, FiledVectors)
    assert torch.equal(FeatureRows(many, torch.zeros(ROWS)).features, whole)


@pytest.mark.parametrize("most", [ROWS * WIDTH, ROWS * WIDTH - 1])
def test_rows_are_written_in_any_order(whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(vectors, "MOST_NUMBERS", most)
    room = room_for(ROWS, WIDTH)
    assert isinstance(room, FiledVectors) == (most < ROWS * WIDTH)
    for places in torch.split(torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)), 6):
        room[places] = whole[places]
    assert torch.equal(torch.cat([block for _, block in in_blocks(room)]), whole)


def test_an_epoch_sees_its_view_of_rows_in_a_file(whole: torch.Tensor) -> None:
    rows = FeatureRows(FiledVectors.written(iter([whole[:22]]), WIDTH), torch.arange(22), views=2)
    assert torch.equal(rows.in_epoch(1).features, whole[11:22])
    assert rows.in_epoch(2).targets.tolist() == list(range(11))
