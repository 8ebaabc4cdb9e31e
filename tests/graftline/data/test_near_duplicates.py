"""Near duplicates across the split, against comparing every pair."""

import itertools
import random

from graftline.data.near_duplicates import PROTECTION, straddling, straddling_equals, straddling_hashes
from graftline.data.row_names import normalised
from graftline.data.splitting import Split, split_of

WORDS = [f"word{number}" for number in range(300)]


def triples(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)}


def texts_with_near_duplicates(seed: int) -> list[str]:
    source = random.Random(seed)
    texts = [" ".join(source.choices(WORDS, k=25)) for _ in range(120)]
    for text in list(texts):
        words = text.split()
        words[-source.randrange(1, 4)] = "changed"
        texts.append(" ".join(words))
    return texts


def test_it_finds_what_comparing_every_pair_finds() -> None:
    texts = texts_with_near_duplicates(seed=1)
    splits: list[Split] = [split_of(text, test_share=0.3, validation_share=0.2) for text in texts]
    sets = [triples(text) for text in texts]
    expected = {
        one
        for one in range(len(texts))
        for other in range(len(texts))
        if PROTECTION[splits[other]] > PROTECTION[splits[one]]
        and len(sets[one] & sets[other]) / len(sets[one] | sets[other]) >= 0.75
    }
    assert len(expected) > 20
    assert set(straddling(texts, splits, similarity=0.75)) == expected


def test_the_row_on_the_less_protected_side_is_the_faulty_one() -> None:
    text = "the same nine words stand here and there again"
    found = straddling([text, text + "!", text], ["test", "validation", "train"], similarity=0.85)
    assert {index: (twin.index, twin.split) for index, twin in found.items()} == {1: (0, "test"), 2: (0, "test")}


def test_every_copy_of_a_straddling_text_is_found() -> None:
    assert set(straddling(["a b c d"] * 4, ["train", "train", "test", "test"], similarity=1)) == {0, 1}


def test_short_texts_are_compared_whole() -> None:
    assert straddling(["good film", "bad film"], ["train", "test"], similarity=0.5) == {}
    assert set(straddling(["good film.", "good film"], ["train", "test"], similarity=0.5)) == {0}


def test_texts_without_words_and_with_broken_unicode_are_compared() -> None:
    assert set(straddling(["?!", "\udce9", ":-)"], ["train", "train", "test"], similarity=0.85)) == set()


def test_case_width_and_invisible_marks_make_no_other_content() -> None:
    assert normalised(" Ｇood\u200b  FILM\n") == normalised("good film")


def hashes_with_near_duplicates(seed: int) -> list[int]:
    source = random.Random(seed)
    hashes = [source.getrandbits(256) for _ in range(150)]
    flipped = [
        number ^ sum(1 << place for place in source.sample(range(256), source.randrange(25))) for number in hashes
    ]
    return hashes + flipped


def test_hashes_across_the_split_are_compared_pair_by_pair() -> None:
    hashes = hashes_with_near_duplicates(seed=1)
    splits: list[Split] = [split_of(str(number), test_share=0.3, validation_share=0.2) for number in hashes]
    expected: dict[int, list[int]] = {}
    for one, other in itertools.product(range(len(hashes)), repeat=2):
        better = PROTECTION[splits[other]] > PROTECTION[splits[one]]
        if better and (hashes[one] ^ hashes[other]).bit_count() <= 12:
            expected.setdefault(one, []).append(other)
    found = straddling_hashes(hashes, splits, most_bits=12)
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    for one, twin in found.items():
        assert PROTECTION[twin.split] == max(PROTECTION[splits[other]] for other in expected[one])
        assert twin.similarity == 1 - (hashes[one] ^ hashes[twin.index]).bit_count() / 256


def test_hashes_on_one_side_have_no_twin_across() -> None:
    assert straddling_hashes([], [], most_bits=12) == {}
    assert straddling_hashes([5, 5], ["train", "train"], most_bits=12) == {}
    assert straddling_hashes([5, 5], ["test", "test"], most_bits=12) == {}


def test_equal_contents_stay_on_their_best_protected_side() -> None:
    splits: list[Split] = ["train", "validation", "test", "train", "train"]
    found = straddling_equals(["a", "a", "a", "b", "a"], splits)
    assert {index: (twin.index, twin.split) for index, twin in found.items()} == dict.fromkeys((0, 1, 4), (2, "test"))
