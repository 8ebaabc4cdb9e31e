"""Changes that no label depends on: each does what its name says, the same for the same seed, and nothing more."""

import io
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.behaviour.perturbations import RATE, changes_of
from graftline.data.images import decode_image
from graftline.data.sounds import Samples, decode_sound
from graftline.evaluation.metrics import Integers
from graftline.models.media import Medium
from graftline.models.preprocessing import Raw
from graftline.settings import Kind
from tests.support.tiny_media import tiny_images, tiny_sounds

TEXT = "The quick brown fox, aged 7, jumps over (lazy) dogs again and again every single morning"


def changed(kind: Kind, name: str, raw: Raw, *, seed: int = 0) -> Raw:
    return changes_of(kind)[name](raw, np.random.default_rng(seed))


@pytest.mark.full
@settings(max_examples=40)
@given(st.text(max_size=80), st.integers(0, 99))
def test_typos_exchange_letters_inside_of_words_only(text: str, seed: int) -> None:
    before, after = text.split(" "), str(changed("text", "typos", text, seed=seed)).split(" ")
    assert len(before) == len(after)
    for word, typo in zip(before, after, strict=True):
        assert Counter(word) == Counter(typo)
        assert (word[:1], word[-1:]) == (typo[:1], typo[-1:])


def test_one_long_word_in_ten_has_a_typo_and_at_least_one() -> None:
    def typos(text: str) -> int:
        return sum(a != b for a, b in zip(text.split(), changed("text", "typos", text).split(), strict=True))

    assert typos(TEXT) == 1
    assert typos(" ".join(["abcdef"] * 40)) == 4
    assert typos("a few odd" + " " + "7777") == 0


def test_case_and_whitespace_change_nothing_else() -> None:
    assert changed("text", "upper case", TEXT).lower() == changed("text", "lower case", TEXT) == TEXT.lower()
    spread = changed("text", "more whitespace", TEXT)
    assert spread != TEXT
    assert spread.split() == TEXT.split()


def pixels(content: bytes) -> Integers:
    return np.asarray(decode_image(content)).astype(np.int64)


def test_pictures_are_lit_blurred_and_shifted() -> None:
    (content,), _ = tiny_images(1)
    before = pixels(content)
    after = {name: pixels(changed("image", name, content)) for name in changes_of("image")}
    assert {name: seen.shape for name, seen in after.items()} == dict.fromkeys(after, before.shape)
    assert after["darker"] == pytest.approx(before * 0.8, abs=1)
    assert after["brighter"] == pytest.approx((before * 1.2).clip(0, 255), abs=1)
    steps = {name: np.abs(np.diff(seen, axis=1)).mean() for name, seen in {**after, "as it was": before}.items()}
    assert steps["blurred"] < steps["as it was"]
    down, right = (max(1, round(0.05 * side)) for side in before.shape[:2])
    moved = [np.roll(before, (y, x), (0, 1)) for y in (-down, down) for x in (-right, right)]
    inside = np.s_[down:-down, right:-right]
    assert any((after["shifted"][inside] == each[inside]).all() for each in moved)


def sound(content: bytes) -> Samples:
    return decode_sound(content, RATE)


def test_sounds_get_softer_louder_noisy_and_resampled() -> None:
    (content,), _ = tiny_sounds(1)
    before = sound(content)
    after = {name: changed("audio", name, content) for name in changes_of("audio")}
    assert sound(after["softer"]) == pytest.approx(before * 10 ** (-6 / 20), abs=1e-6)
    assert sound(after["louder"]) == pytest.approx(before * 10 ** (6 / 20), abs=1e-6)
    noise = sound(after["noise"]) - before
    assert 20 * np.log10(before.std() / noise.std()) == pytest.approx(30, abs=0.5)
    assert soundfile.info(io.BytesIO(after["resampled"])).samplerate == 12_000
    assert len(sound(after["resampled"])) == pytest.approx(len(before), abs=2)


@pytest.mark.parametrize("kind", ["text", "image", "audio"])
def test_the_same_seed_changes_in_the_same_way(kind: Kind) -> None:
    raw = {"text": TEXT, "image": tiny_images(1)[0][0], "audio": tiny_sounds(1)[0][0]}[kind]
    for name in changes_of(kind):
        assert changed(kind, name, raw, seed=5) == changed(kind, name, raw, seed=5)
    seeded = {"text": "typos", "image": "shifted", "audio": "noise"}[kind]
    assert len({str(changed(kind, seeded, raw, seed=seed)) for seed in range(9)}) > 1


def test_a_file_of_the_line_is_read_and_changed() -> None:
    (content,), _ = tiny_images(1)
    assert changed("image", "darker", Medium("a picture", content)) == changed("image", "darker", content)
