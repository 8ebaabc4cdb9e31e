"""Pictures: equal numbers give equal bytes, and labels are never read as markup."""

import numpy as np
import pytest

from graftline.evaluation.pictures import confusion_picture, reliability_picture, training_picture

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
