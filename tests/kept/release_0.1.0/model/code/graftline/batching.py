"""Batches of rows of similar length, in an order that the seed and the epoch decide."""

from collections.abc import Sequence

import numpy as np

# Rows are sorted by length within pools of this many batches: large enough that padding nearly vanishes, small enough
# that a batch's companions differ in every epoch. Whole batches are shuffled afterwards; without that, the order of
# lengths alone costs several points of accuracy.
POOL_BATCHES = 50


def shuffled_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers in batches for one epoch: every row once, lengths alike within a batch, batches shuffled.

    A single row that is left over joins the batch before it: a BatchNorm has nothing to learn from one row.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool_rows = POOL_BATCHES * batch_size
    pools = [order[start : start + pool_rows] for start in range(0, len(order), pool_rows)]
    by_length = np.concatenate([pool[np.argsort(np.take(lengths, pool), kind="stable")] for pool in pools])
    batches = [by_length[start : start + batch_size].tolist() for start in range(0, len(by_length), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return [batches[place] for place in random.permutation(len(batches))]


def sorted_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches for prediction: longest first, so that too large a batch fails at once."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def bounded_batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Row numbers in batches for prediction, longest first, that come to at most `most` when padded, or are one row."""
    batches: list[list[int]] = []
    for row in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > most:
            batches.append([])
        batches[-1].append(row)
    return batches


def equal_length_batches(lengths: Sequence[int], tokens: int, *, filled: bool = True) -> list[list[int]]:
    """Row numbers in batches of one length, as many as make up `tokens`; the last is filled up with repetitions.

    So the shape of a batch follows from the length of its rows alone, whatever other rows there are. Matrix products
    of another shape may add in another order, and differ in the last bits. Not `filled`, the last batch is smaller.
    """
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        by_length.setdefault(length, []).append(row)
    batches = []
    for length, members in sorted(by_length.items(), reverse=True):
        size = max(1, tokens // length)
        members = members + members[:1] * (-len(members) % size if filled else 0)
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches
