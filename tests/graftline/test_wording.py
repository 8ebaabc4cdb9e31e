"""A long value does not make a long sentence."""

from hypothesis import given
from hypothesis import strategies as st

from graftline.wording import did_you_mean, shortened, shown


@given(text=st.text(), characters=st.integers(1, 40))
def test_a_text_is_left_as_it_is_or_is_cut_to_the_length_and_says_so(text: str, characters: int) -> None:
    short = shortened(text, characters)
    assert short == text if len(text) <= characters else (short[-1] == "…" and text.startswith(short[:-1]))
    assert len(short) == min(len(text), characters)


def test_values_are_shown_on_one_short_line_of_plain_characters() -> None:
    assert shown("a\n\u202e\x1b") == r"'a\n\u202e\x1b'"
    assert len(shown("x" * 500)) == 80


def test_a_word_is_known_in_another_case_width_or_with_another_stroke() -> None:
    assert did_you_mean("Lable", ["text", "label"]) == "; did you mean label?"
    assert did_you_mean("max-Pixels", ["max_pixels", "min_side"]) == "; did you mean max_pixels?"
    assert did_you_mean("\uff34\uff25\uff38\uff34", [" text", "label"], shown) == "; did you mean ' text'?"
    assert did_you_mean("xyz", ["text", "label"]) == ""


def test_what_says_several_lines_of_itself_is_shown_on_one() -> None:
    class Table:
        def __repr__(self) -> str:
            return "Table\n  \x1b[31mtext: string"

    assert shown(Table()) == "Table [31mtext: string"
