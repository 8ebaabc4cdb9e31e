"""A long value does not make a long sentence."""

from hypothesis import given
from hypothesis import strategies as st

from graftline.wording import shortened


@given(text=st.text(), characters=st.integers(1, 40))
def test_a_text_is_left_as_it_is_or_is_cut_to_the_length_and_says_so(text: str, characters: int) -> None:
    short = shortened(text, characters)
    assert short == text if len(text) <= characters else (short[-1] == "…" and text.startswith(short[:-1]))
    assert len(short) == min(len(text), characters)
