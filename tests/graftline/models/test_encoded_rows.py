"""Rows that are not a list of Python's objects are read as if they were one."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftline.models import encoded_rows, text_models
from graftline.models.encoded_rows import ChosenRows, JoinedRows, TokenRows, Tokens, lengths_of
from graftline.models.preprocessing import Reading
from graftline.models.text_models import load_text_preprocessor
from tests.support.tiny_models import write_tiny_model

IDS = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1, max_size=12)


class Tokenized:
    """Says how many tokens a row has."""

    def length(self, row: Tokens) -> int:
        return len(row["ids"])


def rows_of(ids: Sequence[Sequence[int]], *, odd: int | None = None) -> list[Tokens]:
    """Rows whose second thing is the same number everywhere but in one of them."""
    return [
        {"ids": np.array(one, np.int32), "mask": np.full(len(one), 2 if row == odd else 1, np.int32)}
        for row, one in enumerate(ids)
    ]


def plain(rows: Sequence[Tokens]) -> list[dict[str, list[int]]]:
    return [{name: values.tolist() for name, values in rows[place].items()} for place in range(len(rows))]


@given(IDS, st.integers(0, 12), st.sampled_from([1, 40, 1 << 20]), st.integers(1, 5))
def test_tokens_come_back_from_memory_and_from_a_file(ids: list[list[int]], odd: int, most: int, size: int) -> None:
    rows = rows_of(ids, odd=odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded_rows, "MOST_BYTES", most)
        kept = TokenRows(rows[start : start + size] for start in range(0, len(rows), size))
    assert plain(kept) == plain(rows)
    assert {values.dtype for row in kept for values in row.values()} == {np.dtype(np.int32)}
    assert list(lengths_of(kept, Tokenized())) == [len(one) for one in ids]
    assert plain(kept[1:-1]) == plain(rows[1:-1])
    assert plain(pickle.loads(pickle.dumps(kept))) == plain(rows)
    with pytest.raises(IndexError):
        kept[len(kept)]


@given(st.lists(IDS, min_size=1, max_size=3), st.data())
def test_joined_and_chosen_rows_are_those_of_lists(parts: list[list[list[int]]], data: st.DataObject) -> None:
    lists = [rows_of(part) for part in parts]
    expected = [row for part in lists for row in part]
    joined = JoinedRows([TokenRows([lists[0]]), *lists[1:]])
    places = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1))
    chosen = ChosenRows(joined, np.array(places))
    for made, of_lists in ((joined, expected), (chosen, [expected[place] for place in places])):
        assert plain(made) == plain(of_lists)
        assert plain(made[-1:]) == plain(of_lists[-1:])
        assert list(lengths_of(made, Tokenized())) == [len(row["ids"]) for row in of_lists]
    assert plain([joined[-1]]) == plain(expected[-1:])
    with pytest.raises(IndexError):
        joined[len(expected)]


def test_many_texts_are_read_once_and_become_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessor = load_text_preprocessor(write_tiny_model(tmp_path / "base"), Reading("text", max_tokens=8))
    texts = ["a good film", "", "the plot was awful and very dull and bad", "a", "other " * 3] * 3
    together: Any = preprocessor.encode(texts)
    monkeypatch.setattr(text_models, "ENCODED_TEXTS", 4)
    some = preprocessor.encode(iter(texts))
    assert isinstance(together, list)
    assert isinstance(some, TokenRows)
    assert plain(some) == plain(together)
    with pytest.raises(ValueError, match="input 9 is 7, expected a text"):
        preprocessor.encode([*texts[:9], 7])  # type: ignore[list-item]
