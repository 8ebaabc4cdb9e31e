"""The baseline that costs seconds: a text's words alone, as TF-IDF with a linear model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from graftline.evaluation.metrics import Floats
from graftline.evaluation.task_scores import TaskScores

# Single words and pairs. A word may be one character long, as it often is in Chinese or Japanese.
WORD, PAIRS = r"(?u)\w+", (1, 2)
# So many words and pairs at most, the most frequent ones: enough for any gain, and bounded in memory.
MOST_TERMS = 200_000
# Fewer where there are many labels, each with a weight for each term: the solver needs 400 bytes for one.
MOST_WEIGHTS = 5_000_000
# Inverses of the L2 penalty that are tried, from a strong one to a weak one.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def bag_of_words(
    task_scores: TaskScores,
    texts: Mapping[str, Sequence[str]],
    targets: Mapping[str, NDArray[Any]],
    *,
    labels: Sequence[str],
    balanced: bool = False,
) -> Floats:
    """Predictions for the texts of `test` by a linear model on the TF-IDF of those of `train`.

    Logistic regression, for several labels one for each, or ridge regression for numbers. Of `STRENGTHS` that with the
    highest primary score on the rows of `validation` is taken, of equals the strongest penalty. `balanced` weighs each
    class by the inverse of its frequency. Training texts without any word leave the frequencies, or the mean.
    Returns: (rows, outputs), as the task's metrics read them.
    """
    # A word that is frequent in one text counts with its logarithm: Manning et al. 2008, section 6.4.1.
    most = min(MOST_TERMS, max(1, MOST_WEIGHTS // max(1, len(labels))))
    weigh = TfidfVectorizer(token_pattern=WORD, ngram_range=PAIRS, sublinear_tf=True, max_features=most)
    analyse = weigh.build_analyzer()
    if not any(analyse(text) for text in texts["train"]):
        return task_scores.without_model(targets["train"], len(texts["test"]), labels)[1]
    train = weigh.fit_transform(texts["train"])
    held, asked = (weigh.transform(texts[split]) for split in ("validation", "test"))
    tried = [
        task_scores.learn(train, targets["train"], len(labels), strength=strength, balanced=balanced)
        for strength in STRENGTHS
    ]
    reached = [_primary(task_scores, answer(held), targets["validation"]) for answer in tried]
    return tried[int(np.argmax(reached))](asked)


def _primary(task_scores: TaskScores, predictions: Floats, targets: NDArray[Any]) -> float:
    metric = task_scores.metrics(predictions, targets)[task_scores.scoring.primary]
    return float(metric(np.ones((1, len(targets))))[0])
