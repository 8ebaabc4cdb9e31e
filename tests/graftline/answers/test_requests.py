"""Whatever form a request has, its inputs are found or it is refused; never is a column taken for another."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.answers.requests import Limits, inputs_of
from graftline.models.media import Medium
from tests.support.tiny_media import tiny_images, tiny_sounds

LIMITS = Limits(rows=3, bytes=10)
NAMES = ("review", "text")
CELLS = st.one_of(st.text(max_size=40), st.none(), st.integers(), st.floats(), st.booleans())


def texts(asked: Any, *, limits: Limits | None = None) -> list[Any]:
    return inputs_of(asked, NAMES, "text", limits=limits)


@settings(max_examples=20)  # pandas takes its time
@given(st.lists(st.tuples(CELLS, st.text(max_size=40), CELLS), min_size=1, max_size=4), st.permutations(range(3)))
def test_of_any_table_with_the_named_column_only_that_column_counts(
    rows: list[tuple[Any, str, Any]], order: list[int]
) -> None:
    names = ["id", "review", "text"]
    table = pd.DataFrame({names[place]: pd.Series([row[place] for row in rows], dtype=object) for place in order})
    expected = [row[1] for row in rows]
    assert texts(table) == expected
    assert texts(table.to_dict("list")) == expected
    assert texts(table.to_dict("records")) == expected


@given(st.lists(CELLS, min_size=2, max_size=4))
def test_what_numpy_writes_among_texts_never_becomes_an_input_unless_a_text_as_wide_hides_it(cells: list[Any]) -> None:
    """As MLflow's server has them: a list of JSON values has become an array."""
    array = np.array(cells)
    try:
        found = texts(array)
    except ValueError:
        return
    if array.dtype.kind == "U":
        longest = max(map(len, found))
        for cell, text in zip(cells, found, strict=True):
            is_text = isinstance(cell, str)
            assert is_text or (longest >= array.dtype.itemsize // 4 and text != "nan")


def test_a_text_that_reads_as_a_number_is_a_text() -> None:
    for some in (["7", "10"], ["nan", "True"], ["10", "a text that is rather longer than a number"]):
        assert texts(np.array(some)) == texts(some) == some


@pytest.mark.parametrize(
    ("asked", "words"),
    [(["a"] * 4, "got 4 rows, expected at most 3"), (["aaaa"] * 3, "got 12 bytes or more, expected at most 10"),
     (["é" * 6], "got 12 bytes or more"), ("a" * 11, "got 11 bytes or more"),
     (pd.DataFrame({"id": [1] * 4, "text": ["a"] * 4}), "got 4 rows, expected at most 3")],
)  # fmt: skip
def test_texts_over_a_limit_are_refused_and_without_limits_answered(asked: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        texts(asked, limits=LIMITS)
    assert len(texts(asked)) >= 1


def test_pictures_are_counted_in_pixels_and_sounds_in_samples_before_they_are_decoded() -> None:
    pictures, sounds = tiny_images(2)[0], tiny_sounds(2)[0]
    most = Limits(rows=9, bytes=10**6, unpacked=2_000, unit="pixels")
    assert len(inputs_of(pictures[:1], ["image"], "image", limits=most)) == 1
    with pytest.raises(ValueError, match=r"got 2,\d+ pixels or more, expected at most 2,000 in one request"):
        inputs_of(pictures, ["image"], "image", limits=most)
    with pytest.raises(ValueError, match=r"got 6,900 samples or more, expected at most 5,000"):
        inputs_of(sounds, ["audio"], "audio", limits=Limits(rows=9, bytes=10**6, unpacked=5_000, unit="samples"))
    with pytest.raises(ValueError, match=r"bytes or more, expected at most 100 in one request"):
        inputs_of(sounds, ["audio"], "audio", limits=Limits(rows=9, bytes=100, unpacked=5_000, unit="samples"))
    # What cannot be decoded is refused by the model, which says why.
    (broken,) = inputs_of([pictures[0][:9]], ["image"], "image", limits=most)
    assert isinstance(broken, Medium)


def test_missing_values_reach_the_model_which_names_their_place() -> None:
    assert texts([{"text": "a"}, {"id": 7}]) == ["a", None]
    found = texts(pd.DataFrame({"id": [1, 2], "text": ["a", None]}))
    assert found[0] == "a"
    assert math.isnan(found[1])


@pytest.mark.parametrize("header", ["id;text", "text;label", "id\ttext"])
def test_a_table_whose_cells_other_marks_divide_is_no_table_of_one_column(header: str) -> None:
    with pytest.raises(ValueError, match="divide the cells of CSV by commas"):
        inputs_of(pd.DataFrame({header: ["1;a"]}), ("text",), "text")
    assert inputs_of(pd.DataFrame({"a;b": ["1;a"]}), ("text",), "text") == ["1;a"]
