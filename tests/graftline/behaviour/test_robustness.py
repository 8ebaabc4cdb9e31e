"""Answers to changed inputs are counted row by row, with an interval that holds near 0 and 1."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Behaviour, behaviour_of, counted
from graftline.behaviour.robustness import kept_under_changes, moved_as_directed, some_rows
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.metrics import Floats
from graftline.evaluation.single_label import is_same
from graftline.models.outputs import Outputs
from graftline.models.predictor import Predictor
from graftline.settings import Task
from graftline.settings.words import direction_of

TEXTS = ["a great film", "an AWFUL film", "great, and great again", "a film"]


class Words:
    """Says how positive a text is by the words in it; capitals it does not know."""

    def __init__(self, task: Task = "single_label", spread: float = 1.0) -> None:
        self.outputs = Outputs(task, () if task == "regression" else ("negative", "positive"), spread=spread)

    def predict(self, raws: Sequence[str]) -> Floats:
        positive = np.array([0.5 + 0.2 * text.count("great") - 0.2 * text.count("awful") for text in raws])
        return positive[:, None] if self.outputs.task == "regression" else np.stack([1 - positive, positive], axis=1)


def predictor(words: Words) -> Predictor:
    return cast("Predictor", words)


@pytest.mark.parametrize(("right", "rows"), [(0, 20), (7, 20), (20, 20), (1, 1)])
def test_the_interval_of_a_share_is_wilsons(right: int, rows: int) -> None:
    seen = counted("typos", np.arange(rows) < right)
    share, squared = right / rows, 1.959963984540054**2
    middle = (share + squared / (2 * rows)) / (1 + squared / rows)
    half = np.sqrt(squared * (share * (1 - share) / rows + squared / (4 * rows**2))) / (1 + squared / rows)
    assert (seen.right, seen.rows, seen.share) == (right, rows, right / rows)
    assert [seen.low, seen.high] == pytest.approx([middle - half, middle + half], abs=1e-9)


def test_each_row_is_compared_with_its_own_answer() -> None:
    words = Words()
    changes: Any = {"as they are": lambda text, _: text, "in capitals": lambda text, _: text.upper()}
    same, capitals = kept_under_changes(predictor(words), TEXTS, words.predict(TEXTS), changes, is_same=is_same, seed=0)
    assert (same.name, same.right, same.rows) == ("as they are", 4, 4)
    # In capitals nothing is great, so those that were positive become undecided, which is the first label.
    assert (capitals.name, capitals.right) == ("in capitals", 2)


def test_each_row_is_changed_with_random_numbers_of_its_own() -> None:
    seen: list[float] = []

    def note(text: str, random: np.random.Generator) -> str:
        seen.append(random.random())
        return text

    for _ in range(2):
        kept_under_changes(predictor(Words()), TEXTS, Words().predict(TEXTS), {"noted": note}, is_same=is_same, seed=3)
    assert seen[:4] == seen[4:]
    assert len(set(seen)) == 4


def test_words_that_move_an_answer_the_right_way_are_counted_both_ways() -> None:
    words = Words()
    seen = moved_as_directed(predictor(words), TEXTS, words.predict(TEXTS), direction_of("great > awful: positive"))
    assert seen is not None
    # Two texts have the one word, one has the other: in capitals, which this model does not know.
    assert (seen.name, seen.rows, seen.right) == ("great > awful: positive", 3, 2)
    wrong = moved_as_directed(predictor(words), TEXTS, words.predict(TEXTS), direction_of("great > awful: negative"))
    assert wrong is not None
    assert wrong.right == 0
    assert moved_as_directed(predictor(words), TEXTS, words.predict(TEXTS), direction_of("x > y: positive")) is None


def test_words_move_numbers_without_a_label() -> None:
    words = Words("regression")
    seen = moved_as_directed(predictor(words), TEXTS, words.predict(TEXTS), direction_of("great > dull"))
    assert seen is not None
    assert (seen.rows, seen.right) == (2, 2)


def test_rows_are_drawn_once_each_and_the_same_for_a_seed() -> None:
    assert some_rows(5, 99, 0) == [0, 1, 2, 3, 4]
    drawn = some_rows(100, 10, 1)
    assert drawn == some_rows(100, 10, 1) == sorted(set(drawn))
    assert drawn != some_rows(100, 10, 2)
    assert some_rows(9, 0, 0) == []


def test_a_behaviour_is_read_as_it_was_written() -> None:
    gain = Difference(0.1, 0.05, 0.2, 0.01)
    seen = Behaviour(
        [counted("typos", np.array([True, False]))], [], [Disparity("sex", "rate", 9, 0.2, "f", 0.1, gain)], ["no rows"]
    )
    assert behaviour_of(seen.as_json()) == seen
