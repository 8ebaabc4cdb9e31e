"""TF-IDF with a linear model: it learns what words say, on any task, and stands whatever the texts hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from graftline.answers.tasks import TASKS
from graftline.evaluation.baselines import PAIRS, STRENGTHS, WORD, bag_of_words
from graftline.evaluation.linear_models import MAX_ITERATIONS
from graftline.evaluation.metrics import Floats
from graftline.settings import Task
from tests.support.tiny_models import tiny_texts

Targets = NDArray[Any]


def predicted(
    task: Task,
    targets: Sequence[Targets],
    outputs: int,
    texts: Sequence[Sequence[str]] | None = None,
    *,
    balanced: bool = False,
) -> Floats:
    """For training, validation and test texts, the first with a good word in their odd rows, the others likewise."""
    rows = [*(len(part) for part in targets), 40]
    texts = texts or [tiny_texts(count, seed=seed)[0] for seed, count in enumerate(rows)]
    named = dict(zip(("train", "validation", "test"), texts, strict=True))
    learned = dict(zip(("train", "validation"), targets, strict=True))
    labels = [f"{label}" for label in range(0 if task == "regression" else outputs)]
    return bag_of_words(TASKS[task].scores, named, learned, labels=labels, balanced=balanced)


def alternating(rows: int) -> Targets:
    return np.arange(rows) % 2


def test_it_is_scikit_learns_best_model_on_the_validation_rows() -> None:
    noisy = np.where(np.arange(120) % 7 == 0, 1 - alternating(120), alternating(120))
    texts = [tiny_texts(rows, seed=seed)[0] for seed, rows in enumerate((120, 40, 40))]
    ours = predicted("single_label", (noisy, alternating(40)), 2, texts)
    words = TfidfVectorizer(token_pattern=WORD, ngram_range=PAIRS, sublinear_tf=True)
    train, held, asked = words.fit_transform(texts[0]), *(words.transform(part) for part in texts[1:])
    models = [LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(train, noisy) for strength in STRENGTHS]
    best = max(models, key=lambda model: float(model.score(held, alternating(40))))
    assert ours == pytest.approx(best.predict_proba(asked))
    assert (ours.argmax(1) == alternating(40)).mean() > 0.8


def test_each_of_several_labels_has_its_own_probability() -> None:
    def labels(rows: int) -> Targets:
        # The second label is the opposite of the first, the third one is never there.
        return np.stack([alternating(rows), 1 - alternating(rows), np.zeros(rows, int)], axis=1)

    found = predicted("multi_label", (labels(120), labels(40)), 3)
    assert ((found[:, :2] >= 0.5) == labels(40)[:, :2]).mean() > 0.8
    assert (found[:, 2] == 0).all()


def test_one_label_alone_that_rows_have_or_have_not() -> None:
    found = predicted("multi_label", (alternating(120)[:, None], alternating(40)[:, None]), 1)
    assert found.shape == (40, 1)
    assert ((found[:, 0] >= 0.5) == alternating(40)).mean() > 0.8


def test_numbers_have_the_unit_of_the_targets() -> None:
    found = predicted("regression", (1000.0 + alternating(120)[:, None], 1000.0 + alternating(40)[:, None]), 1)
    assert found.shape == (40, 1)
    assert np.corrcoef(found[:, 0], alternating(40))[0, 1] > 0.8
    assert abs(found.mean() - 1000.5) < 0.2


def test_a_label_without_training_rows_is_never_given() -> None:
    found = predicted("single_label", (2 * alternating(120), 2 * alternating(40)), 3)
    assert (found[:, 1] == 0).all()
    assert found.sum(1) == pytest.approx(1)


def test_a_single_label_in_the_training_rows_is_always_given() -> None:
    found = predicted("single_label", (np.ones(30, int), alternating(40)), 2)
    assert (found == [0, 1]).all()


@pytest.mark.parametrize("nothing", ["", "  ", "?!", "\u200b"])
def test_texts_without_words_leave_the_frequencies(nothing: str) -> None:
    found = predicted("single_label", (np.array([0, 1, 1, 1]), alternating(2)), 2, [[nothing] * 4, ["a"] * 2, ["b"]])
    assert found.tolist() == [[0.25, 0.75]]


def test_balanced_classes_count_the_same() -> None:
    rare = (np.arange(120) % 10 == 1).astype(int)
    plain, balanced = (predicted("single_label", (rare, rare[:40]), 2, balanced=chosen) for chosen in (False, True))
    assert balanced[:, 1].mean() > plain[:, 1].mean() + 0.1


def test_words_of_one_character_count() -> None:
    texts = [["好 片"] * 10 + ["烂 片"] * 10, ["好 片", "烂 片"], ["好", "烂"]]
    found = predicted("single_label", (np.repeat([1, 0], 10), np.array([1, 0])), 2, texts)
    assert found.argmax(1).tolist() == [1, 0]


def test_of_many_labels_only_the_most_frequent_words_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [["the good", "the bad"] * 60, ["the good", "the bad"] * 20, ["the good", "the bad"]]
    told_apart = predicted("single_label", (alternating(120), alternating(40)), 2, texts)
    monkeypatch.setattr("graftline.evaluation.baselines.MOST_WEIGHTS", 2)
    only_the = predicted("single_label", (alternating(120), alternating(40)), 2, texts)
    assert told_apart[0] != pytest.approx(told_apart[1])
    assert only_the[0] == pytest.approx(only_the[1])
