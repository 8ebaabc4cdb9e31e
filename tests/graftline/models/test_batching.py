"""Batches: every row once, alike in length, in an order that seed and epoch decide."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graftline.models.batching import POOL_BATCHES, Groups, equal_length_batches, shuffled_batches, sorted_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200)
SIZES = st.integers(1, 16)
SEEDS = st.integers(0, 2**31 - 1)


def as_lists(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch as every release so far has had them."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pools = [order[start : start + POOL_BATCHES * size] for start in range(0, len(order), POOL_BATCHES * size)]
    rows = [row for pool in pools for row in pool[np.argsort(np.take(lengths, pool), kind="stable")].tolist()]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    if len(batches) > 1 and len(batches[-1]) == 1 < size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return [batches[place] for place in random.permutation(len(batches))]


def by_length(lengths: Sequence[int], tokens: int, *, filled: bool) -> list[list[int]]:
    """The batches of one length as every release so far has had them."""
    members: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        members.setdefault(length, []).append(row)
    batches = []
    for length, rows in sorted(members.items(), reverse=True):
        size = max(1, tokens // length)
        rows += rows[:1] * (-len(rows) % size if filled else 0)
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    return batches


def rows_in(batches: Sequence[Sequence[int]]) -> list[int]:
    return sorted(row for batch in batches for row in batch)


@given(LENGTHS, SIZES, SEEDS, st.integers(0, 5))
def test_an_epoch_holds_every_row_exactly_once(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = shuffled_batches(lengths, size, seed=seed, epoch=epoch)
    assert rows_in(batches) == list(range(len(lengths)))


@given(LENGTHS, SIZES, SEEDS)
def test_all_batches_but_one_are_full(lengths: list[int], size: int, seed: int) -> None:
    batches = shuffled_batches(lengths, size, seed=seed, epoch=0)
    full, rest = divmod(len(lengths), size)
    if rest == 1 and full and size > 1:
        # A single row that is left over joins another batch.
        assert Counter(map(len, batches)) == Counter({size: full - 1, size + 1: 1}) - Counter()
    else:
        assert Counter(map(len, batches)) == Counter({size: full, rest: 1 if rest else 0}) - Counter()


@given(LENGTHS, SIZES, SEEDS, st.integers(0, 5), st.integers(1, 4), st.booleans())
def test_batches_are_those_of_lists(
    lengths: list[int], size: int, seed: int, epoch: int, accumulation: int, filled: bool
) -> None:
    expected = as_lists(lengths, size, seed, epoch)
    batches = shuffled_batches(lengths, size, seed=seed, epoch=epoch)
    assert batches == expected
    assert [list(group) for group in Groups(batches, accumulation)] == [
        expected[start : start + accumulation] for start in range(0, len(expected), accumulation)
    ]
    assert equal_length_batches(lengths, 60, filled=filled) == by_length(lengths, 60, filled=filled)


@given(LENGTHS, SIZES, SEEDS, st.integers(0, 5))
def test_seed_and_epoch_decide_the_order(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    first, second = (shuffled_batches(lengths, size, seed=seed, epoch=epoch) for _ in range(2))
    assert first == second


def test_epochs_and_seeds_give_other_batches() -> None:
    lengths = [row % 9 + 1 for row in range(64)]
    orders = [shuffled_batches(lengths, 8, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(one != other for place, one in enumerate(orders) for other in orders[:place])


def test_a_rows_companions_change_between_epochs_although_lengths_stay_alike() -> None:
    first, second = (shuffled_batches([5] * 64, 8, seed=0, epoch=epoch) for epoch in (0, 1))
    assert {frozenset(batch) for batch in first}.isdisjoint({frozenset(batch) for batch in second})


def test_batches_of_short_and_of_long_rows_come_mixed() -> None:
    lengths = list(range(1, 257))
    longest = [max(lengths[row] for row in batch) for batch in shuffled_batches(lengths, 8, seed=0, epoch=0)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


@given(LENGTHS, SIZES, SEEDS)
def test_padding_within_a_pool_is_at_most_one_batch_of_the_longest_row(
    lengths: list[int], size: int, seed: int
) -> None:
    batches = shuffled_batches(lengths, size, seed=seed, epoch=0)
    padding = sum(
        len(batch) * max(lengths[row] for row in batch) - sum(lengths[row] for row in batch) for batch in batches
    )
    pools = -(-len(lengths) // (POOL_BATCHES * size))
    assert padding <= pools * size * (max(lengths) - min(lengths))


@given(st.lists(st.integers(1, 60), max_size=200), SIZES)
def test_prediction_covers_every_row_once_longest_first(lengths: list[int], size: int) -> None:
    batches = sorted_batches(lengths, size)
    assert rows_in(batches) == list(range(len(lengths)))
    in_order = [lengths[row] for batch in batches for row in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 60), max_size=200), st.integers(1, 200))
def test_batches_of_equal_lengths_cover_every_row(lengths: list[int], tokens: int) -> None:
    batches = equal_length_batches(lengths, tokens)
    assert {row for batch in batches for row in batch} == set(range(len(lengths)))
    assert all(len({lengths[row] for row in batch}) == 1 for batch in batches)


@given(st.lists(st.integers(1, 60), max_size=200), st.integers(1, 200))
def test_a_batchs_size_follows_from_the_length_of_its_rows_alone(lengths: list[int], tokens: int) -> None:
    for batch in equal_length_batches(lengths, tokens):
        assert len(batch) == max(1, tokens // lengths[batch[0]])
