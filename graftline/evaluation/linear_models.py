"""Linear models on a text's words, as functions of words to predictions."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats, Integers

MAX_ITERATIONS = 1000

Matrix = Any  # scipy's sparse matrices, of which scikit-learn says no more
Answer = Callable[[Matrix], Floats]


class Learn(Protocol):
    """A model of words (rows, terms) from the targets of the same rows, with so many labels.

    `strength` is the inverse of its L2 penalty; `balanced` weighs each class by the inverse of its frequency.
    Its answers are (rows, outputs), as the task's metrics read them.
    """

    def __call__(
        self, words: Matrix, targets: NDArray[Any], labels: int, /, *, strength: float, balanced: bool
    ) -> Answer: ...


def logistic(words: Matrix, classes: Integers, count: int, *, strength: float, balanced: bool) -> Answer:
    """Logistic regression: the probability of each of `count` classes."""
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(classes)
    if len(seen) == 1:
        return lambda asked: np.tile(np.eye(count)[seen[0]], (asked.shape[0], 1))
    weights = "balanced" if balanced else None
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, class_weight=weights).fit(words, classes)

    def answer(asked: Matrix) -> Floats:
        # Of a class without training rows the model knows nothing.
        result = np.zeros((asked.shape[0], count))
        result[:, seen] = model.predict_proba(asked)
        return result

    return answer
