"""The answers that were given: the usual ones, or those that probabilities carry along because a model has a rule."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats, Integers

Given = NDArray[np.bool_]
"""Which labels were given: (rows, labels), or (labels,) of one row."""

# From this probability on a row of any number of labels has a label, unless the model says otherwise.
THRESHOLD = 0.5


class WithAnswers(np.ndarray[Any, np.dtype[np.float64]]):
    """Probabilities (rows, labels) beside the answers that were given from them.

    They are an array like any other, and unchanged by the answers. Whoever takes some of the rows, or of the columns,
    takes their answers along; what is computed from them has none.
    """

    given: Given | None = None

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if self.given is not None and isinstance(found, WithAnswers):
            found.given = self.given[key]
        return found


def with_answers(probabilities: Floats, given: Given) -> Floats:
    """The probabilities (rows, labels), which from here on carry the answers that were `given`: (rows, labels)."""
    found = np.array(probabilities).view(WithAnswers)
    found.given = given
    return found


def answers_in(probabilities: Floats) -> Given | None:
    """The answers that the probabilities carry; None where they are the usual ones."""
    return probabilities.given if isinstance(probabilities, WithAnswers) else None


def joined(parts: Sequence[Floats]) -> Floats:
    """The probabilities of all parts, in order, with the answers that they carry: all of them do, or none."""
    given = [each for each in map(answers_in, parts) if each is not None]
    together: Floats = np.concatenate([np.asarray(part) for part in parts])
    return with_answers(together, np.concatenate(given)) if given else together


def label_given(probabilities: Floats) -> Integers:
    """The place of the one label that each row was given: (rows,); of one row a single number.

    It is the likeliest one where nothing else is said, and where what was given is none of these labels.
    """
    likeliest, given = np.asarray(probabilities).argmax(-1), answers_in(probabilities)
    return np.asarray(likeliest if given is None else np.where(given.any(-1), given.argmax(-1), likeliest))


def labels_given(probabilities: Floats) -> Given:
    """Which of any number of labels each row was given; where nothing else is said, those from `THRESHOLD` on."""
    given = answers_in(probabilities)
    return np.asarray(probabilities) >= THRESHOLD if given is None else given
