"""The rows in which a model does worst are found by their features alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from graftline.evaluation import clusters
from graftline.evaluation.clusters import COLUMN, worst_clusters
from graftline.evaluation.metrics import Floats, Integers

ROWS = 400
NAMES = [f"r{place}" for place in range(ROWS)]


def drawn() -> tuple[Floats, Integers]:
    """Vectors around four middles far from each other, and which middle each row is of."""
    random = np.random.default_rng(0)
    places = random.integers(0, 4, ROWS)
    middles = 20 * np.eye(4, 6)
    return middles[places] + random.normal(0, 1, (ROWS, 6)), places


def test_clusters_are_found_worst_first() -> None:
    vectors, places = drawn()
    quality = np.array([0.9, 0.3, 0.7, 0.5])[places]
    found = worst_clusters(vectors, quality, NAMES, seed=0)
    assert [part.column for part in found] == [COLUMN] * 3
    for part, place in zip(found, (1, 3, 2), strict=True):
        np.testing.assert_array_equal(part.rows, places == place)


def test_a_cluster_is_named_after_the_rows_in_its_middle() -> None:
    vectors, places = drawn()
    found = worst_clusters(vectors, (places != 2).astype(float), NAMES, seed=0)[0]
    members = np.flatnonzero(places == 2)
    distances = np.linalg.norm(vectors[members] - vectors[members].mean(0), axis=1)
    nearest = [NAMES[row] for row in members[distances.argsort()[:3]]]
    assert found.value == f"like {', '.join(nearest)}"


class InBlocks:
    """Vectors of which a few are in memory at a time."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors, self.width, self.asked = vectors, vectors.shape[1], list[int]()

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, places: Integers) -> Floats:
        self.asked.append(len(places))
        return self.vectors[places]

    def blocks(self) -> Iterator[Floats]:
        return iter(np.split(self.vectors, 8))


def test_the_middles_of_very_many_rows_are_found_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, places = drawn()
    quality = np.array([0.9, 0.3, 0.7, 0.5])[places]
    monkeypatch.setattr(clusters, "SAMPLED_NUMBERS", 100 * vectors.shape[1])
    blocks = InBlocks(vectors)
    found = worst_clusters(blocks, quality, NAMES, seed=0)
    assert set(blocks.asked) == {100}
    for part, place in zip(found, (1, 3, 2), strict=True):
        np.testing.assert_array_equal(part.rows, places == place)


def test_the_same_seed_finds_the_same_clusters() -> None:
    vectors, quality = np.random.default_rng(1).normal(0, 1, (ROWS, 6)), np.random.default_rng(2).random(ROWS)
    first, again = (worst_clusters(vectors, quality, NAMES, seed=7) for _ in range(2))
    assert [part.value for part in first] == [part.value for part in again]


@pytest.mark.parametrize("rows", [0, 199])
def test_few_rows_have_no_clusters(rows: int) -> None:
    assert worst_clusters(np.zeros((rows, 4)), np.zeros(rows), NAMES, seed=0) == []


def test_equal_vectors_are_one_cluster() -> None:
    (found,) = worst_clusters(np.ones((ROWS, 4)), np.ones(ROWS), NAMES, seed=0)
    assert found.rows.all()
