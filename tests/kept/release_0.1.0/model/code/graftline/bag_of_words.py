"""What a text's words alone say: TF-IDF with a linear model, the baseline without transfer that costs seconds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from graftline.examination import baseline
from graftline.metrics import Floats
from graftline.scoring import SCORING
from graftline.settings import Task
from graftline.task_metrics import METRICS_OF

# Single words and pairs. A word may be one character long, as it often is in Chinese or Japanese.
WORD, PAIRS = r"(?u)\w+", (1, 2)
# So many words and pairs at most, the most frequent ones: enough for any gain, and bounded in memory.
MOST_TERMS = 200_000
# Inverses of the L2 penalty that are tried, from a strong one to a weak one.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
MAX_ITERATIONS = 1000

Matrix = Any  # scipy's sparse matrices, of which scikit-learn says no more
Answer = Callable[[Matrix], Floats]


def bag_of_words(
    task: Task,
    texts: Mapping[str, Sequence[str]],
    targets: Mapping[str, NDArray[Any]],
    *,
    outputs: int,
    balanced: bool = False,
) -> Floats:
    """Predictions for the texts of `test` by a linear model on the TF-IDF of those of `train`.

    Logistic regression, for several labels one for each, or ridge regression for numbers. Of `STRENGTHS` that with the
    highest primary score on the rows of `validation` is taken, of equals the strongest penalty. `balanced` weighs each
    class by the inverse of its frequency. Training texts without any word leave the frequencies, or the mean.
    Returns: (rows, outputs), as the task's metrics read them.
    """
    # A word that is frequent in one text counts with its logarithm: Manning et al. 2008, section 6.4.1.
    weigh = TfidfVectorizer(token_pattern=WORD, ngram_range=PAIRS, sublinear_tf=True, max_features=MOST_TERMS)
    analyse = weigh.build_analyzer()
    if not any(analyse(text) for text in texts["train"]):
        return baseline(task, targets["train"], len(texts["test"]), range(outputs))[1]
    train = weigh.fit_transform(texts["train"])
    held, asked = (weigh.transform(texts[split]) for split in ("validation", "test"))
    tried = [_learnt(task, train, targets["train"], outputs, strength, balanced=balanced) for strength in STRENGTHS]
    reached = [_primary(task, answer(held), targets["validation"]) for answer in tried]
    return tried[int(np.argmax(reached))](asked)


def _learnt(
    task: Task, words: Matrix, targets: NDArray[Any], outputs: int, strength: float, *, balanced: bool
) -> Answer:
    if task == "regression":
        ridge = Ridge(alpha=1 / strength).fit(words, targets[:, 0])
        return lambda asked: np.asarray(ridge.predict(asked), dtype=float)[:, None]

    def learn(classes: NDArray[Any], count: int) -> Answer:
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

    if task == "single_label":
        return learn(targets, outputs)
    each = [learn(targets[:, label], 2) for label in range(outputs)]
    return lambda asked: np.stack([answer(asked)[:, 1] for answer in each], axis=1)


def _primary(task: Task, predictions: Floats, targets: NDArray[Any]) -> float:
    metric = METRICS_OF[task](predictions, targets)[SCORING[task].primary]
    return float(metric(np.ones((1, len(targets))))[0])
