"""Rows and facts in columns: the same rows, facts and names as row by row, whatever the batches."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.data import column_parts, columns, row_facts, row_table, single_label
from graftline.data.columns import GrowingColumns
from graftline.data.numbering import digests, numbered
from graftline.data.row_conflicts import Labels, first_conflicts
from graftline.data.row_names import shown_texts
from graftline.data.row_table import RowTable
from graftline.data.splitting import SPLITS
from graftline.data.tables import Row
from graftline.settings import DataSettings

TEXTS = st.none() | st.text(st.characters(), max_size=4)  # lone surrogates among them: bytes that are not UTF-8
FIT = st.builds(Row, st.integers(1, 10**6), st.tuples(TEXTS, TEXTS), side=st.sampled_from([None, *SPLITS]))
FAULTY = st.builds(Row, st.integers(1, 10**6), st.just((None, None)), st.just("broken"), st.text(max_size=3))


@settings(max_examples=40)
@given(rows=st.lists(FIT | FAULTY, max_size=12), place=st.slices(12), batch=st.integers(1, 5), most=st.integers(0, 100))
def test_rows_come_out_as_they_went_in(rows: list[Row], place: slice, batch: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_table, "BATCH_ROWS", batch)
        patch.setattr(columns, "BATCH_ROWS", batch)
        patch.setattr(column_parts, "MOST_BYTES", most)
        table = RowTable.of(iter(rows))
        assert list(table) == rows
        assert [table[at] for at in range(-len(rows), len(rows))] == rows + rows
        assert list(table[place]) == rows[place]
        assert list(table.readable) == [row for row in rows if row.fault is None]
        chosen = np.array([row.line % 2 == 0 for row in rows], np.bool_)
        assert list(table.where(chosen)) == [row for row in rows if row.line % 2 == 0]


@settings(max_examples=40)
@given(texts=st.lists(TEXTS, max_size=6))
def test_an_empty_text_is_missing_and_what_is_not_unicode_is_written_out(texts: list[str | None]) -> None:
    held = RowTable.of(Row(1, (text,)) for text in texts).values
    expected = [text.encode("utf-8", "backslashreplace").decode() if text else None for text in texts]
    assert list(shown_texts(held[0]) if held else ()) == expected


def test_the_facts_are_the_same_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(3)
    texts = ["", "a b", "A  b", "other", "caf\udce9", "\u200b", None]
    rows = [
        Row(line, (source.choice(texts), source.choice(["a", "b", "c", "", None])), side=source.choice([None, "test"]))
        for line in range(2, 60)
    ]
    settings = DataSettings(path="data/t.csv", labels=["a", "b"])
    at_once = row_facts.row_facts(rows, settings, single_label.TARGETS)
    for module in (columns, row_table, row_facts):
        monkeypatch.setattr(module, "BATCH_ROWS", 7)
    monkeypatch.setattr(column_parts, "MOST_BYTES", 0)
    in_batches = row_facts.row_facts(rows, settings, single_label.TARGETS)
    assert {name: list(facts) for name, facts in in_batches.columns.items()} == {
        name: list(facts) for name, facts in at_once.columns.items()
    }
    assert (list(in_batches.ids), list(in_batches.splits)) == (list(at_once.ids), list(at_once.splits))
    assert list(in_batches.contents) == list(at_once.contents)
    assert any(at_once.columns["conflict"])


def test_a_column_may_hold_more_text_than_arrow_puts_into_one_array_by_itself() -> None:
    """Which begins at two gigabytes: the type that has no such limit is asked for."""
    growing = GrowingColumns()
    growing.add({"texts": ["a", None], "bytes": [None, b"a"], "nothing": [None, None], "numbers": [1, None]})
    growing.add({"texts": ["b"], "bytes": [b"b"], "nothing": [None], "numbers": [1.5]})
    done = growing.done()
    assert [str(column.type) for column in done.values()] == ["large_string", "large_binary", "null", "double"]
    assert list(done["numbers"]) == [1.0, None, 1.5]


def test_each_row_names_the_first_one_that_contradicts_it() -> None:
    source = random.Random(4)
    contents = [source.choice("uvwxyz") for _ in range(40)]
    labels = [source.choice(["a", "a", "b", "c", None]) for _ in contents]
    gathered = Labels()
    for start in range(0, len(labels), 7):
        gathered.add(labels[start : start + 7])
    found = first_conflicts([gathered], numbered(digests(text.encode() for text in contents)), np.arange(len(labels)))
    assert list(found) == conflicts_by_comparing_all(contents, labels)


def conflicts_by_comparing_all(contents: Sequence[str], labels: Sequence[str | None]) -> list[str | None]:
    alike = defaultdict[str, list[int]](list)
    for place, (content, label) in enumerate(zip(contents, labels, strict=True)):
        alike[content] += [place] if label is not None else []
    said: list[str | None] = []
    for content, label in zip(contents, labels, strict=True):
        others = [other for other in alike[content] if label is not None and labels[other] != label]
        said.append(f"line {others[0]} has the same input with label {labels[others[0]]!a}" if others else None)
    return said
