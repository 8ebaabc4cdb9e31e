"""Words in the place of others: as the settings name them, whole, and in capitals where they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.settings import parse_settings
from graftline.settings.words import direction_of, swap_of, with_partners

GENDER = swap_of("gender: he|she, his|her, man|woman").partners


@pytest.mark.parametrize(
    ("text", "swapped"),
    [("He said his man left", "She said her woman left"), ("the history of HE and She", "the history of SHE and He"),
     ("nobody", "nobody"), ("(his)", "(her)"), ("", "")],
)  # fmt: skip
def test_each_whole_word_changes_places_with_its_partner(text: str, swapped: str) -> None:
    assert with_partners(text, GENDER) == swapped


@given(st.lists(st.sampled_from(["he", "She", "HIS", "a film", "mankind", "woman", "."])))
def test_swapping_twice_gives_the_text_back(words: list[str]) -> None:
    text = " ".join(words)
    assert with_partners(with_partners(text, GENDER), GENDER) == text


def test_the_longest_of_several_words_is_meant() -> None:
    assert with_partners("a gay man", {"gay man": "straight man", "gay": "glad"}) == "a straight man"


def test_a_word_may_hold_what_means_something_in_a_pattern() -> None:
    assert with_partners("c++ or c?", {"c++": "ada", "c?": "b"}) == "ada or b"


@pytest.mark.parametrize("text", ["he|she", "gender:", "gender: he", "gender: he|she|it", "gender: he|he", "a: |b"])
def test_what_names_no_pairs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no pairs of words, expected something like gender: he"):
        swap_of(text)


def test_a_word_in_two_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="'he' stands in two pairs"):
        swap_of("gender: he|she, he|her")


def test_a_direction_names_two_words_and_a_label() -> None:
    direction = direction_of("really great > awful: very: positive")
    assert (direction.more, direction.less, direction.label) == ("really great", "awful", "very: positive")
    assert direction_of("great>awful").label is None
    for text in ("great", "great > ", "great > Great: positive"):
        with pytest.raises(ValueError, match="names no direction"):
            direction_of(text)


@pytest.mark.parametrize(
    ("kind", "task", "evaluation", "message"),
    [
        ("text", "single_label", {"counterfactuals": ["he"]}, "names no pairs of words"),
        ("text", "single_label", {"directions": ["a > b"]}, "a > b needs a label"),
        ("text", "regression", {"directions": ["a > b: good"]}, "a > b needs a label"),
        ("text", "single_label", {"directions": ["a > b: god"]}, "'god' is none of data.labels"),
        ("image", "single_label", {"counterfactuals": ["sex: he|she"]}, "are about words, which data.kind image"),
        ("text", "single_label", {"groups": ["sex"]}, "'sex' is none of data.slices"),
    ],
)
def test_settings_that_ask_for_what_is_not_there_are_refused(
    kind: str, task: str, evaluation: JsonValue, message: str
) -> None:
    labels: JsonValue = [] if task == "regression" else ["good", "bad"]
    tree: JsonValue = {
        "data": {"path": "data/rows.csv", "kind": kind, "task": task, "labels": labels, "slices": ["source"]},
        "base_model": {"uri": "path:base"}, "evaluation": evaluation, "registry": {"model": "tiny"},
    }  # fmt: skip
    with pytest.raises(SettingsError, match=message):
        parse_settings(tree, source="params.yaml")
