"""Counterparts of texts: one for each swap, none twice, and none that a held-out text nearly is."""

from graftline.data.swapped_texts import swapped_texts
from graftline.settings.words import swap_of

GENDER = swap_of("gender: he|she, his|her")


def test_every_swap_that_changes_a_text_makes_a_counterpart_of_it() -> None:
    texts = ["He saw her dog", "nobody", "his film"]
    made = swapped_texts(texts, [], [GENDER, swap_of("kind: film|movie")], similarity=0.85)
    assert made.texts == ("She saw his dog", "her film", "his movie")
    assert made.places == (0, 2, 2)
    assert (made.holding, made.there, made.twins) == (3, 0, 0)


def test_a_pair_that_is_there_already_is_balanced_and_equal_counterparts_are_added_once() -> None:
    made = swapped_texts(["he won", "She won", "his", "HIS"], [], [GENDER], similarity=0.85)
    assert made.texts == ("her",)
    assert (made.holding, made.there) == (4, 2)


def test_what_would_nearly_be_a_held_out_text_is_not_added() -> None:
    held_out = ["in the end she wins a prize that nobody wants!"]
    made = swapped_texts(
        ["in the end he wins a prize that nobody wants", "he lost"], held_out, [GENDER], similarity=0.85
    )
    assert made.texts == ("she lost",)
    assert made.twins == 1
