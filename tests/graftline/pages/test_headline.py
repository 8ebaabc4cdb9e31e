"""A run in one sentence without statistics, for each kind of answer, and figures in words."""

from collections.abc import Sequence

import pytest

from graftline.answers.tasks import TASKS
from graftline.evaluation.scoring import spelt
from graftline.pages.alt_texts import training_alt_text
from graftline.pages.headline import Scores, headline
from graftline.settings import Task
from graftline.verdict.axis import Axis, Outcome, Part

OLD = "the old one"


def scores(name: str, value: float) -> Scores:
    return {name: {"value": value, "low": value, "high": value}}


def axes(champion: Outcome, others: Outcome, slices: Outcome, lost: Sequence[str] = ()) -> list[Axis]:
    parts = [Part(name, "loss", {}, "is worse") for name in lost]
    return [
        Axis("champion", champion, ""),
        Axis("other scores", others, "", parts=parts),
        Axis("slices", slices, ""),
    ]


def said(*found: Axis) -> str:
    shown = TASKS["single_label"].shown
    better, old = scores("accuracy", 0.858), scores("accuracy", 0.82)
    return headline(shown, "text", 1000, better, other=(OLD, old), axes=found)


@pytest.mark.parametrize(
    ("task", "name", "sentence"),
    [
        ("single_label", "accuracy", "Right on 858 of 1,000 texts; the old one on 820 of the same"),
        ("multi_label", "subset_accuracy", "All labels right on 858 of 1,000 texts; the old one on 820 of the same"),
        ("regression", "mean_absolute_error", "Off by 0.858 on average over 1,000 texts; the old one by 0.82"),
    ],
)
def test_each_task_has_its_words(task: Task, name: str, sentence: str) -> None:
    shown = TASKS[task].shown
    assert headline(shown, "text", 1000, scores(name, 0.858), other=(OLD, scores(name, 0.82)), axes=[]) == sentence


def test_it_says_that_nothing_got_worse_only_where_that_was_shown() -> None:
    assert said(*axes("win", "win", "tie")).endswith("; no score and no group of rows got worse")
    assert said(*axes("win", "win", "unknown")).endswith("; no score got worse")
    assert said(*axes("tie", "unknown", "tie")).endswith("; whether something else got worse is not sure yet")
    assert said(*axes("loss", "tie", "tie")).endswith("; whether something else got worse is not sure yet")
    assert said(Axis("champion", "unknown", "")).endswith("the old one on 820 of the same")


def test_it_names_what_got_worse() -> None:
    lost = axes("win", "loss", "tie", ["macro_f1", "a", "b", "c"])
    assert said(*lost).endswith(f"; it got worse in {spelt('macro_f1')}, a, b and 1 more")


def test_a_figure_of_a_training_is_told_by_its_numbers() -> None:
    text = training_alt_text([0.6, 0.2], [0.5, 0.4], "log loss")
    assert "over 2 epochs" in text
    assert "from 0.6 to 0.2 on the training rows" in text
    assert "lowest after epoch 2 (0.4)" in text
