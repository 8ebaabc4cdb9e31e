"""Pictures: equal numbers give equal bytes, and labels are never read as markup."""

import numpy as np
import pytest

from graftline.evaluation.pictures import (
    confusion_picture,
    label_picture,
    largest_confusions,
    reliability_picture,
    training_picture,
    weakest_labels,
)

TABLE = np.array([[5, 1], [0, 0]])


def test_equal_numbers_give_equal_bytes_and_others_do_not() -> None:
    first, again, other = (confusion_picture(table, ["a", "b"]) for table in (TABLE, TABLE.copy(), TABLE.T))
    assert (first == again, first == other) == (True, False)


@pytest.mark.parametrize("label", [r"$\frac{", "$$", "^_{", "<script>", "a" * 200, ""])
def test_any_label_can_be_drawn(label: str) -> None:
    assert confusion_picture(TABLE, [label, "b"]).startswith(b"\x89PNG")


def test_a_reliability_picture_can_be_drawn_of_a_single_bin_and_shows_what_was_before() -> None:
    bins, before = ([{"confidence": share, "accuracy": 1.0, "rows": 1}] for share in (0.2, 0.7))
    assert reliability_picture(bins, bins) != reliability_picture(bins, before)


def test_a_training_picture_can_be_drawn_of_a_single_epoch() -> None:
    assert training_picture([0.7], [0.6]) != training_picture([0.7], [0.5])


def test_the_largest_confusions_are_named_without_the_right_answers() -> None:
    table = np.array([[9, 3, 0], [1, 5, 4], [0, 0, 7]])
    found = largest_confusions(table, 2)
    assert [(one.actual, one.predicted, one.rows, one.share) for one in found] == [(1, 2, 4, 0.4), (0, 1, 3, 0.25)]
    assert largest_confusions(np.diag([3, 4]), 5) == []


def size_of(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


@pytest.mark.parametrize("labels", [40, 77, 1000])
def test_pictures_of_many_labels_are_no_larger_than_those_of_a_few(labels: int) -> None:
    source, names = np.random.default_rng(0), [f"label ${number}" for number in range(labels)]
    confusion = confusion_picture(source.integers(0, 9, (labels, labels)), names)
    numbers = [{"f1": one, "precision": one, "recall": one} for one in source.random(labels)]
    assert max(*size_of(confusion), *size_of(label_picture(numbers, names))) < 1500


def test_a_model_of_many_labels_that_is_always_right_can_be_drawn() -> None:
    assert confusion_picture(np.eye(30, dtype=int), [f"{number}" for number in range(30)]).startswith(b"\x89PNG")


def test_of_many_labels_the_weakest_are_drawn_in_their_order() -> None:
    classes = [{"f1": value} for value in (0.9, 0.1, 0.8, 0.3)]
    assert (weakest_labels(classes, 2), weakest_labels(classes, 4)) == ([1, 3], [0, 1, 2, 3])
