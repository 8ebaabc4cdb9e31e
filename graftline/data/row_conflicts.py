"""One input with two targets: which rows contradict which."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graftline.data.columns import Column
from graftline.data.numbering import Numbers


class Labels:
    """The targets of all rows by numbers, gathered batch by batch."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._parts: list[NDArray[np.int32]] = []

    def add(self, labels: Sequence[str | None]) -> None:
        """None: a row whose target or input has a fault of its own, and contradicts nobody."""
        numbers = [-1 if label is None else self.names.setdefault(label, len(self.names)) for label in labels]
        self._parts.append(np.array(numbers, np.int32))

    @property
    def numbers(self) -> NDArray[np.int32]:
        """Of each row, or -1."""
        return np.concatenate(self._parts)


def first_conflicts(targets: Iterable[Labels], content: Numbers, lines: NDArray[np.int64]) -> Column:
    """What contradicts each row, if a row with the same `content` has another target; of several targets the first.

    Equal contents have equal numbers.
    """
    said: dict[int, str] = {}
    for labels in targets:
        for place, sentence in _conflicts(content, labels, lines):
            said.setdefault(place, sentence)
    return _of_few(said, len(lines))


def _of_few(said: Mapping[int, str], rows: int) -> Column:
    """A column that holds something at these places."""
    import pyarrow as pa
    from pyarrow import compute

    if not said:
        return Column(pa.nulls(rows))
    chosen = np.zeros(rows, np.bool_)
    chosen[list(said)] = True
    sentences = pa.array([said[place] for place in sorted(said)])
    return Column(compute.replace_with_mask(pa.nulls(rows, pa.string()), chosen, sentences))


def _conflicts(content: Numbers, labels: Labels, lines: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    label, names = labels.numbers, list(labels.names)
    if not len(content):
        return
    fit = np.flatnonzero((label >= 0) & (np.bincount(content)[content] > 1))
    fit = fit[np.argsort(content[fit], kind="stable")]
    starts = np.flatnonzero(np.append(True, content[fit][1:] != content[fit][:-1])) if len(fit) else fit
    if not len(starts):
        return
    differ = np.flatnonzero(np.minimum.reduceat(label[fit], starts) < np.maximum.reduceat(label[fit], starts))
    ends = np.append(starts[1:], len(fit))
    for group in differ.tolist():
        rows = fit[starts[group] : ends[group]]
        # Each names the first one that differs from it: for most the first row, for those like it the first unlike it.
        other = rows[np.flatnonzero(label[rows] != label[rows[0]])[0]]
        for row in rows.tolist():
            against = other if label[row] == label[rows[0]] else rows[0]
            yield row, f"line {lines[against]} has the same input with label {names[label[against]]!a}"
