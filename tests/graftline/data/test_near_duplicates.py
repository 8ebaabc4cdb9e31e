"""Near duplicates across the split, against comparing every pair."""

import functools
import itertools
import random

import pytest

from graftline.data import column_parts, near_duplicates, similar_hashes, similar_texts
from graftline.data.near_duplicates import Twin, straddling, straddling_equals, straddling_hashes
from graftline.data.row_names import normalised
from graftline.data.similar_texts import OVERLOOKED, banding
from graftline.data.splitting import SPLITS, Split, split_of

place = SPLITS.index
WORDS = [f"word{number}" for number in range(300)]
SWAPPED = (
    "what was said there, please note it for me, is about the bakery and not at all, as you wrote, about the cinema now"
)
CODE = [f"{name}({one}) {sign} {two}" for name in ("f", "g") for one in range(6) for sign in "+-<" for two in range(6)]


@functools.cache
def pieces(text: str) -> dict[tuple[str, int], int]:
    """Where each piece of five characters stands; the second that is equal is another."""
    around = f"{'_' * 4}{text}{'_' * 4}"
    cut = [around[start : start + 5] for start in range(len(around) - 4)]
    return {(piece, cut[:place].count(piece)): place for place, piece in enumerate(cut)}


@functools.cache  # the same pairs for each similarity
def share(one: str, other: str) -> float:
    ours, theirs = pieces(one), pieces(other)
    in_both = len(ours.keys() & theirs.keys())
    if in_both < 0.5 * (len(ours) + len(theirs) - in_both):
        return 0  # less than any similarity here, whatever the order
    in_one_order = longest_rise([theirs[piece] for piece in ours if piece in theirs])
    return in_one_order / (len(ours) + len(theirs) - in_one_order)


def longest_rise(places: list[int]) -> int:
    """By comparing all pairs."""
    longest: list[int] = []
    for at, place in enumerate(places):
        longest.append(1 + max((longest[before] for before in range(at) if places[before] < place), default=0))
    return max(longest, default=0)


def texts_with_near_duplicates(seed: int) -> list[str]:
    source = random.Random(seed)
    texts = [" ".join(source.choices(WORDS, k=source.randrange(3, 30))) for _ in range(150)]
    texts += ["".join(source.choices("坏好咖啡天气ดีมาก", k=source.randrange(4, 120))) for _ in range(60)]
    for text in list(texts):
        marks = list(text)
        for _ in range(source.randrange(1, 4)):
            marks[source.randrange(len(marks))] = source.choice("aeβ不 ")
        texts.append(normalised("".join(marks)))
    return list(dict.fromkeys(texts))


@pytest.mark.parametrize("similarity", [0.5, 0.75, 0.85])
def test_it_finds_what_comparing_every_pair_finds(similarity: float) -> None:
    texts = texts_with_near_duplicates(seed=1)
    splits: list[Split] = [split_of(text, test_share=0.3, validation_share=0.2) for text in texts]
    expected: dict[int, float] = {}
    for one, other in itertools.product(range(len(texts)), repeat=2):
        if place(splits[other]) < place(splits[one]) and (alike := share(texts[one], texts[other])) >= similarity:
            expected[one] = max(alike, expected.get(one, 0))
    found = straddling(texts, splits, similarity=similarity)
    assert len(expected) > 20
    assert {one: twin.similarity for one, twin in found.items()} == pytest.approx(expected)


def pairs_just_similar_enough(count: int, similarity: float) -> list[tuple[str, str]]:
    """Texts of random letters, one of each pair with so many exchanged at its end that the two just fit."""
    source, pairs = random.Random(5), []
    for _ in range(count):
        one = "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randrange(80, 160)))
        # Exchanged at the end, they are in four pieces more.
        other_pieces = int((len(one) + 4) * (1 - similarity) / (1 + similarity))
        pairs.append((one, one[: 4 - other_pieces] + "#" * (other_pieces - 4)))
    return pairs


@pytest.mark.parametrize("similarity", [0.5, 0.85])
def test_of_texts_that_are_just_similar_enough_nearly_all_are_found(similarity: float) -> None:
    pairs = pairs_just_similar_enough(500, similarity)
    splits: list[Split] = ["train", "test"]
    found = straddling([text for pair in pairs for text in pair], splits * len(pairs), similarity=similarity)
    assert all(similarity <= twin.similarity < similarity + 0.03 for twin in found.values())
    assert len(found) >= len(pairs) - 1  # one in 10,000 may be overlooked
    bands, rows = banding(similarity)
    assert (1 - similarity**rows) ** bands <= OVERLOOKED


def test_the_twins_are_the_same_however_many_texts_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_with_near_duplicates(seed=2)
    texts += [f"your order {number} was sent to the address that you gave us on that day" for number in range(200)]
    splits: list[Split] = [split_of(text, test_share=0.3, validation_share=0.2) for text in texts]
    at_once = straddling(texts, splits, similarity=0.75)
    monkeypatch.setattr(similar_texts, "BYTES_PER_CUT", 100)
    monkeypatch.setattr(similar_texts, "PIECES_PER_COMPARISON", 700)
    monkeypatch.setattr(similar_texts, "PIECES_PER_READING", 20_000)
    monkeypatch.setattr(column_parts, "MOST_BYTES", 0)
    monkeypatch.setattr(near_duplicates, "BATCH_ROWS", 50)
    assert straddling(texts, splits, similarity=0.75) == at_once
    assert len(at_once) > 50


def test_of_many_texts_made_from_one_template_each_has_a_twin_though_few_are_compared() -> None:
    texts = [f"a guest of table {n} praised the cook and all that was served on this evening" for n in range(5_000)]
    splits: list[Split] = ["test" if number % 3 == 0 else "train" for number in range(len(texts))]
    found = straddling(texts, splits, similarity=0.7)
    assert len(found) == splits.count("test")


def test_the_held_out_row_is_the_twin_and_names_the_row_before_it() -> None:
    text = "the same nine words stand here and there again"
    found = straddling([text, text + "!", text], ["test", "validation", "train"], similarity=0.85)
    assert {index: (twin.index, twin.split) for index, twin in found.items()} == {0: (2, "train"), 1: (2, "train")}


def test_every_copy_of_a_straddling_text_is_found() -> None:
    assert set(straddling(["a b c d"] * 4, ["train", "train", "test", "test"], similarity=1)) == {2, 3}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("@anonymous :) :)", "@anonymous :'( :'("),
        ("coffee and traffic today :-D", "coffee and traffic today :-("),
        ("坏咖啡:(", "坏咖啡:)"),
        ("这家咖啡店的服务很好", "这家咖啡店的服务不好"),
        ("อาหารดีมาก", "อาหารดุมาก"),
        ("-15.2", "15.2"),
        ("1,5 or 2", "1.5 or 2"),
        ("if a == b: return 1", "if a != b: return 1"),
        ("total = price + tax - 1", "total = price - tax + 1"),
        ("good film.", "good film?"),
        ("😀 😀 😀", "😀"),
        ("ha ha ha ha ha ha", "ha ha"),
        ("?!", ":-)"),
        ("!", "\udce9"),
        ("are you coming to the party tonight?", "are you coming to the party tonight!"),
        (SWAPPED, SWAPPED.replace("bakery", "-").replace("cinema", "bakery").replace("-", "cinema")),
    ],
)
def test_what_differs_in_few_marks_is_no_twin_where_they_say_much(one: str, other: str) -> None:
    assert straddling([normalised(one), normalised(other)], ["train", "test"], similarity=0.85) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Damn, running late sucks!", "damn running late sucks!!!"),
        ("昨天我们在这家咖啡店喝了咖啡，服务员非常热情，环境也很安静，价格也比较合理，只是位置有点难找，下次还会带朋友一起来这里坐坐。",
         "昨天我们在这家咖啡店喝了咖啡，服务员非常热情，环境也很安静，价格也比较合理，只是位置有点难找，下次还会带朋友一起来这里坐。"),
        ("เมื่อวานฉันไปกินข้าวที่ร้านนี้กับเพื่อน อาหารอร่อยมากและพนักงานก็บริการดีมากด้วย",
         "เมื่อวานฉันไปกินข้าวที่ร้านนี้กับเพื่อน อาหารอร่อยมากและพนักงานก็บริการดีมาก"),
        ("for index, value in enumerate(sorted(values, key=lambda value: value.rank)): print(index)",
         "for index, value in enumerate(sorted(values, key=lambda value: value.rank)):  print(index);"),
    ],
)  # fmt: skip
def test_a_small_edit_of_a_long_text_is_a_twin(one: str, other: str) -> None:
    assert set(straddling([normalised(one), normalised(other)], ["train", "test"], similarity=0.85)) == {1}


def test_lines_of_code_that_differ_in_a_sign_or_a_number_are_no_twins() -> None:
    splits: list[Split] = ["test" if number % 2 else "train" for number in range(len(CODE))]
    assert straddling(CODE, splits, similarity=0.85) == {}


def test_of_thousands_made_from_one_template_equal_ones_are_found() -> None:
    texts = [f"your order {number} was sent to the address that you gave us on day {number}" for number in range(900)]
    splits: list[Split] = ["test" if number % 3 == 0 else "train" for number in range(900)]
    found = straddling([*texts, texts[1]], [*splits, "test"], similarity=0.99)
    assert {index: twin.index for index, twin in found.items()} == {900: 1}


def test_no_texts_have_no_twins() -> None:
    assert straddling([], [], similarity=0.85) == {}
    assert straddling(["a", "b"], ["train", "train"], similarity=0.85) == {}
    assert straddling(["a", "b"], ["test", "test"], similarity=0.85) == {}


def test_case_width_and_invisible_marks_make_no_other_content() -> None:
    assert normalised(" Ｇood\u200b  FILM\n") == normalised("good film")


def hashes_with_near_duplicates(seed: int, most_bits: int) -> list[int]:
    """Also equal ones, and as many near a single one as from a camera that does not move."""
    source = random.Random(seed)
    hashes = [source.getrandbits(256) for _ in range(150)]
    flipped = [
        number ^ sum(1 << place for place in source.sample(range(256), source.randrange(2 * most_bits + 1)))
        for number in [*hashes, *hashes[:1] * 100]
    ]
    return hashes + flipped + hashes[::7]


@pytest.mark.parametrize("most_bits", [0, 12, 16, 40, 47])
def test_hashes_across_the_split_are_found_as_pair_by_pair(most_bits: int) -> None:
    hashes = hashes_with_near_duplicates(1, most_bits)
    splits: list[Split] = [split_of(str(place), test_share=0.3, validation_share=0.2) for place, _ in enumerate(hashes)]
    expected: dict[int, Twin] = {}
    for one in range(len(hashes)):
        near = [
            (place(splits[other]), other)
            for other in range(len(hashes))
            if place(splits[other]) < place(splits[one]) and (hashes[one] ^ hashes[other]).bit_count() <= most_bits
        ]
        if near:
            other = min(near)[1]
            expected[one] = Twin(other, splits[other], 1 - (hashes[one] ^ hashes[other]).bit_count() / 256)
    assert straddling_hashes(hashes, splits, most_bits=most_bits) == expected
    assert len(expected) > 10


def test_hashes_are_found_as_well_where_few_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = hashes_with_near_duplicates(2, 12)
    splits: list[Split] = [split_of(str(place), test_share=0.3, validation_share=0.2) for place, _ in enumerate(hashes)]
    at_once = straddling_hashes(hashes, splits, most_bits=12)
    for name in ("MOST_AT_ONCE", "COMPARED_FIRST"):
        monkeypatch.setattr(similar_hashes, name, 3)
    assert straddling_hashes(hashes, splits, most_bits=12) == at_once


def test_hashes_on_one_side_have_no_twin_across() -> None:
    assert straddling_hashes([], [], most_bits=12) == {}
    assert straddling_hashes([5, 5], ["train", "train"], most_bits=12) == {}
    assert straddling_hashes([5, 5], ["test", "test"], most_bits=12) == {}


def test_equal_contents_are_twins_of_the_earliest_one() -> None:
    splits: list[Split] = ["train", "validation", "test", "train", "train"]
    found = straddling_equals(["a", "a", "a", "b", "a"], splits)
    assert {index: (twin.index, twin.split) for index, twin in found.items()} == dict.fromkeys((1, 2), (0, "train"))
