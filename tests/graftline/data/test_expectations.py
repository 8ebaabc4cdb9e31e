"""Expectations as data, and the facts they look at."""

from collections import Counter
from types import ModuleType

import pyarrow as pa
import pytest

from graftline.data import multi_label, regression, single_label
from graftline.data.classes import class_table, likely_meant
from graftline.data.columns import Column
from graftline.data.expectations import expectations_for
from graftline.data.label_spellings import other_spellings
from graftline.data.row_facts import row_facts
from graftline.data.row_names import content_names, numbered_names
from graftline.data.tables import Row
from graftline.settings import DataSettings

SETTINGS = DataSettings(path="data/t.csv", labels=["a", "b"])


@pytest.mark.parametrize("kind", [single_label, multi_label, regression])
def test_names_are_unique_and_rows_and_sets_are_both_covered(kind: ModuleType) -> None:
    expectations = expectations_for(SETTINGS, kind.TARGETS)
    assert len({expectation.name for expectation in expectations}) == len(expectations)
    assert {expectation.level for expectation in expectations} == {"row", "set"}


@pytest.mark.parametrize(
    ("label", "rows", "meant"),
    [
        ("postive", {"postive": 2, "positive": 500}, True),
        ("Positive", {"Positive": 2, "positive": 500}, True),
        ("positive\u200b", {"positive\u200b": 1, "positive": 500}, True),
        ("ｐositive", {"ｐositive": 1, "positive": 500}, True),
        ("001", {"001": 5, "01": 500, "1": 500}, False),
        ("class_2", {"class_2": 5, "class_1": 500}, False),
        ("negative", {"negative": 400, "positive": 500}, False),
        ("cat", {"cat": 2, "dog": 500}, False),
    ],
)
def test_a_rare_label_that_resembles_a_frequent_one_is_a_slip(label: str, rows: dict[str, int], meant: bool) -> None:
    assert (likely_meant(label, rows) is not None) == meant


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"), ("0", "-0.0"), ("1", "+1e0"), ("10", " 10 "), ("1", "001"), ("1.5", "1.50"), ("2", "\uff12"),
        ("true", "True"), ("NO", "no"), ("stra\u00dfe", "STRASSE"), ("very good", "verygood"), ("a\u00a0b", "a b"),
        ("caf\u00e9", "cafe\u0301"), ("ok", "ok\u200b"), ("pass", "p\u0430ss"), ("\u0410pple", "apple"), ("AI", "Al"),
        ("\u0412\u041e\u0414\u0410", "\u0432\u043e\u0434\u0430"), ("e-mail", "e\u2013mail"), ("\ufb01ne", "fine"),
    ],
)  # fmt: skip
def test_a_label_that_a_reader_takes_for_another_is_another_spelling_of_it(one: str, other: str) -> None:
    assert other_spellings({other: 3, "else": 9, one: 5}) == {other: one}
    assert other_spellings({one: 3, "else": 9, other: 5}) == {one: other}


def test_of_spellings_that_are_equally_frequent_the_shortest_is_meant() -> None:
    assert other_spellings({"-0": 5, "0": 5, "2": 7, "+2": 7}) == {"-0": "0", "+2": "2"}


def test_labels_that_a_reader_tells_apart_are_no_spellings_of_one() -> None:
    numbers = ["1", "10", "-1", "1.01", "1e99", "1e999999999999999999999", "inf", "nan"]
    words = [
        "a",
        "b",
        "B1",
        "Bl",
        "NIL",
        "ALL",
        "A.",
        "no",
        "non",
        "x2",
        "x 3",
        "\u4e00",
        "\u4e8c",
        "\u0431",
        "C",
        "C#",
    ]
    labels = [*numbers, *words]
    assert other_spellings(dict.fromkeys(labels, 7)) == {}


def test_many_labels_are_compared_at_once() -> None:
    rows = {f"class {number}": number for number in range(20_000)}
    assert other_spellings({**rows, "CLASS 19999": 1}) == {"CLASS 19999": "class 19999"}


def test_a_declared_label_without_rows_is_in_the_table() -> None:
    table = class_table(["a", "b"], Counter({("a", "train"): 1, ("a", "test"): 1}), accepted_rows=2)
    assert (table["rows"], table["share"], table["test"]) == ([2, 0], [1, 0], [1, 0])


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "a\x7f", "a\x85", "caf\udce9", "\ufffd", "\u202egnp", "a\rb"])
def test_what_does_not_belong_into_a_text_is_named(text: str) -> None:
    (said,) = row_facts([Row(2, (text, "a"))], SETTINGS, single_label.TARGETS).columns["input.unclean"]
    assert said is not None


@pytest.mark.parametrize("text", ["tab\tand\nlines\r\n", "שלום \u200fעולם", "👩\u200d👩\u200d👧", "naïve", "e\u0301"])
def test_what_belongs_into_a_text_passes(text: str) -> None:
    (said,) = row_facts([Row(2, (text, "a"))], SETTINGS, single_label.TARGETS).columns["input.unclean"]
    assert said is None


def test_a_faulty_row_takes_no_other_row_with_it() -> None:
    rows = [Row(2, ("same words", "a")), Row(3, ("Same  words", "c")), Row(4, ("other words", "b"))]
    assert list(row_facts(rows, SETTINGS, single_label.TARGETS).columns["conflict"]) == [None, None, None]


def test_both_sides_of_a_conflict_are_named() -> None:
    rows = [Row(2, ("same words", "a")), Row(3, ("Same  words", "b"))]
    conflicts = row_facts(rows, SETTINGS, single_label.TARGETS).columns["conflict"]
    assert list(conflicts) == [
        f"line {line} has the same input with label {label}" for line, label in [(3, "'b'"), (2, "'a'")]
    ]


def test_content_ids_follow_the_content_and_tell_repeats_apart() -> None:
    one, other, again, third = numbered_names(Column(pa.array(content_names(["x", "y", "x", "x"]))))
    assert (again, third) == (f"{one}-2", f"{one}-3")
    assert other != one
