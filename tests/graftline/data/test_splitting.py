"""The frozen split."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.data.row_facts import row_facts
from graftline.data.single_label import TARGETS
from graftline.data.splitting import split_of
from graftline.data.tables import Row
from graftline.settings import DataSettings

SETTINGS = DataSettings(path="data/t.csv")
# Lone surrogates stand for undecodable bytes.
TEXTS = st.lists(st.text(st.characters(codec=None), max_size=20), max_size=15)


def sides(texts: list[str]) -> list[str]:
    return list(row_facts([Row(line, (text, "a")) for line, text in enumerate(texts)], SETTINGS, TARGETS).splits)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_growth_moves_no_row(before: list[str], added: list[str]) -> None:
    assert sides(before + added)[: len(before)] == sides(before)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1))
def test_rows_that_read_the_same_lie_on_the_same_side(text: str) -> None:
    assert len(set(sides([text, f"  {text}\u200b", f"\ufeff{text} "]))) == 1


def test_the_shares_are_what_was_asked_for() -> None:
    count = Counter(split_of(str(number), test_share=0.15, validation_share=0.1) for number in range(20_000))
    assert count["test"] / 20_000 == pytest.approx(0.15, abs=0.01)
    assert count["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_the_split_is_the_one_of_the_first_release() -> None:
    got = [split_of(group, test_share=0.15, validation_share=0.15) for group in "abcdef"]
    assert got == ["train", "train", "validation", "train", "test", "validation"]
