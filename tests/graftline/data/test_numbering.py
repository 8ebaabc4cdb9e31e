"""Numbers of equal values, against a dictionary of all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftline.data import numbering
from graftline.data.numbering import digests, first_of_each, numbered


@given(values=st.lists(st.binary(max_size=1), max_size=40), at_once=st.integers(1, 50))
def test_equal_values_have_equal_numbers_in_order_of_first_appearance(values: list[bytes], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "SORTED_ROWS", at_once)
        found = numbered(digests(values))
    seen: dict[bytes, int] = {}
    assert found.tolist() == [seen.setdefault(value, len(seen)) for value in values]
    assert first_of_each(found).tolist() == [value not in values[:place] for place, value in enumerate(values)]


def test_digests_that_are_equal_in_one_half_are_not_equal() -> None:
    some = np.array([[7, 1], [7, 2], [7, 1], [8, 2], [7, 2]], np.uint64)
    assert numbered(some).tolist() == [0, 1, 0, 2, 1]
