"""The measurement of distances: what stands beside what, and a page of what is known so far."""

import numpy as np

from benchmarks.scores.distance import PAIRS, Kept, Rows, accuracy, beside, page
from benchmarks.scores.shifts import PLACES


def rows(moved: float, seed: int) -> Rows:
    """Two labels that the first number tells, and all numbers moved."""
    random = np.random.default_rng(seed)
    targets = np.arange(80) % 2
    vectors = random.standard_normal((80, 3)) + moved
    vectors[:, 0] += 4 * targets
    return Rows(vectors.astype(np.float32), targets)


def test_every_pair_is_of_places_of_its_kind() -> None:
    for kind, pairs in PAIRS.items():
        assert {PLACES[name].kind for pair in pairs for name in pair} == {kind}


def test_halves_of_one_set_share_no_row_and_are_not_told_apart() -> None:
    here = rows(0, 0)
    first, second = (here.half(3, second=second).vectors for second in (False, True))
    assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}
    same = beside({"here": here}, "here", "here", 3)
    assert not same.distances.differ
    assert same.drop == 0


def test_a_head_from_elsewhere_does_worse_where_the_rows_have_moved() -> None:
    seen = beside({"here": rows(0, 0), "there": rows(6, 1)}, "here", "there", 0)
    assert seen.distances.differ
    assert seen.drop > 0.3
    assert accuracy(rows(0, 0), rows(0, 1)) > 0.9


def test_the_page_tells_what_is_known() -> None:
    source, target = PAIRS["text"][0]
    sets = {source: rows(0, 0), target: rows(2, 1)}
    known = Kept(
        [beside(sets, source, target, seed) for seed in (0, 1)], {source: {"mmd": 9, "a_distance": 10, "frechet": 11}},
    )  # fmt: skip
    said = page(known)
    assert f"| {source} | {target} |" in said
    assert "2 of 2" in said
    assert "5.0 % (" in said or "5.0% (" in said
