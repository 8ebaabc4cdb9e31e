"""What a lead lets expect, and whether it came so."""

import pytest

from graftline.evaluation.bootstrap import Difference
from graftline.transfer.foresight import Foreseen, Standing, as_json, came_true, foreseen_of, standing_of


def lead(value: float) -> Difference:
    return Difference(value, value - 0.05, value + 0.05, 0.5)


@pytest.mark.parametrize(("value", "standing"), [(0.1, "ahead"), (0.01, "open"), (-0.1, "behind")])
def test_a_lead_is_one_where_its_interval_leaves_zero_out(value: float, standing: Standing) -> None:
    assert standing_of(lead(value)) == standing
    assert Foreseen("tfidf", "words", lead(value)).expected == standing


def test_what_is_open_before_or_after_is_neither_right_nor_wrong() -> None:
    assert came_true("ahead", "ahead") is came_true("behind", "behind") is True
    assert came_true("ahead", "behind") is False
    assert came_true("open", "ahead") is came_true("ahead", "open") is None


def test_the_sentence_says_what_is_expected_of_what_and_why() -> None:
    said = Foreseen("tfidf", "a linear model on words", lead(-0.1)).sentence
    assert said.startswith("the adapted model is not expected to beat a linear model on words: a head on the untouched")
    assert "-0.1000, -0.1500 to -0.0500 on the validation rows" in said


def test_foresight_is_what_it_was_once_it_was_written() -> None:
    seen = (Foreseen("tfidf", "words", lead(0.02)),)
    assert foreseen_of(as_json(seen)) == seen
