"""Keys of what is kept: the same from run to run, and another one for whatever gives other bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graftline.frozen import keys
from graftline.frozen.keys import KeptUnder, row_keys, store_key
from graftline.frozen.rows import InputRows
from graftline.models import views
from graftline.models.image_preprocessing import ImagePreprocessor
from graftline.models.media import Medium
from graftline.models.preprocessing import Encoded, Preprocessor, Reading
from graftline.models.sound_preprocessing import Sound
from graftline.models.speech_models import SpeechPreprocessor
from graftline.models.text_models import TextPreprocessor
from graftline.models.views import View
from graftline.models.whisper_models import WhisperPreprocessor

KEPT = KeptUnder(
    base_digest="base",
    first_trainable="backbone.encoder.layer.3",
    threads=2,
    device="cpu",
    precision="float32",
    feature_precision="bfloat16",
    runtime="torch",
    versions=("2.13.0", "5.23.0", "2.4.0"),
)
VIEW = View("light", seed=3, number=1)
# No preprocessor needs more than this of itself to name a row.
TEXTS = TextPreprocessor(tokenizer=None, reading=Reading("text"))
IMAGES = ImagePreprocessor(lambda _: torch.zeros(3, 8, 8), Reading("image"), lambda _: None, shape=(3, 8, 8))
SPEECH = SpeechPreprocessor(extractor=None, reading=Reading("audio"), shortest=400, mixes_lengths=True)
WHISPER = WhisperPreprocessor(extractor=None, reading=Reading("audio"))


def tokens(*ids: int) -> Encoded:
    return {"input_ids": np.array(ids, np.int32), "attention_mask": np.ones(len(ids), np.int32)}


def image(view: View | None = None) -> Medium:
    return Medium("an image", b"bytes", view=view)


def sound(view: View | None = None) -> Sound:
    return Sound(Medium("a sound", b"bytes", view=view), samples=16_000)


def test_the_key_of_a_store_stays_as_it_is() -> None:
    assert store_key(KEPT) == "8a9bd1d84d53022c10b05b0854decc3d"
    assert store_key(replace(KEPT, first_trainable=None)) == "a3288a1c8e11422bc08a5652e8031970"


@pytest.mark.parametrize(
    "other",
    [
        {"base_digest": "another base"},
        {"first_trainable": "head"},
        {"threads": 1},
        {"device": "cuda"},
        {"precision": "bfloat16"},
        {"feature_precision": "float32"},
        {"runtime": "openvino"},
        {"versions": ("2.13.0", "5.23.0", "2.4.1")},
    ],
    ids=str,
)
def test_whatever_gives_other_bits_has_a_store_of_its_own(other: dict[str, Any]) -> None:
    assert store_key(replace(KEPT, **other)) != store_key(KEPT)


def test_another_way_to_compute_the_frozen_part_has_a_store_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = store_key(KEPT)
    monkeypatch.setattr(keys, "FROZEN_PART_VERSION", keys.FROZEN_PART_VERSION + 1)
    assert store_key(KEPT) != before


@pytest.mark.parametrize(
    ("preprocessor", "row", "key"),
    [
        (TEXTS, tokens(101, 7592, 102), "d9372bfe0e9d1461976f4f3e35c59fd6"),
        (IMAGES, image(), "900df72e72762670ed96179f2f771731"),
        (IMAGES, image(VIEW), "cf60e98eca06db09b7fdeaf9730b836c"),
        (SPEECH, sound(), "05a8a1e3956eefc72e86f77f718a0bb9"),
        (SPEECH, sound(VIEW), "e2b756e237526801918161ddded335ab"),
        (WHISPER, sound(), "8dcc080a01c4a367299585dc7aebaf31"),
        (WHISPER, sound(VIEW), "10dbaef9f76db3c75633d9da44da086c"),
    ],
)
def test_the_key_of_a_row_stays_as_it_is(preprocessor: Preprocessor, row: Encoded, key: str) -> None:
    assert row_keys(InputRows(preprocessor, [row], torch.zeros(1))) == [key]


def test_pictures_that_are_read_as_of_other_bits_have_other_keys() -> None:
    assert replace(IMAGES, reading=Reading("image", sample_bits=12)).key(image()) != IMAGES.key(image())


def test_other_views_of_a_row_have_other_keys_and_equal_rows_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({IMAGES.key(image(View("light", seed, number))) for seed in (0, 1) for number in (0, 1)}) == 4
    before = IMAGES.key(image(VIEW))
    assert IMAGES.key(replace(image(VIEW), name="the same under another name")) == before
    monkeypatch.setattr(views, "VIEWS_VERSION", views.VIEWS_VERSION + 1)
    assert IMAGES.key(image(VIEW)) != before
    first, second, third = row_keys(InputRows(TEXTS, [tokens(1, 2), tokens(1), tokens(1, 2)], torch.zeros(3)))
    assert first == third != second
