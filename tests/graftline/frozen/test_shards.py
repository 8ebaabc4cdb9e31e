"""The frozen part over shards of rows: the store has the bytes that it has without them."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import cloudpickle  # as Ray does it
import pytest
import torch

from graftline.answers.predicting import predictor_of
from graftline.compute.precision import Precision
from graftline.compute.spread import Spread
from graftline.data.class_folders import SUFFIXES
from graftline.errors import DataRefusedError
from graftline.frozen import shards
from graftline.frozen.filling import fill, run_through
from graftline.frozen.freezing import freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.rows import InputRows
from graftline.frozen.store import INDEX, VALUES, FeatureStore
from graftline.models import sharding
from graftline.models.folders import load_preprocessor, save_classifier
from graftline.models.media import Medium
from graftline.models.preprocessing import Reading
from graftline.settings.adaptation import Strategy
from tests.support.tiny_media import (
    MediaArchitecture,
    kind_of,
    tiny_images,
    tiny_media_classifier,
    tiny_sounds,
    write_tiny_media_model,
)
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, tiny_rows, tiny_texts, write_tiny_model

ROWS = 60


def through_pickles(took: list[int]) -> Spread:
    """Another process, as far as what goes to it and comes back is concerned."""

    def spread(function: Callable[[Any, Any], Any], shared: object, items: Iterable[object]) -> Iterator[Any]:
        sent = cloudpickle.dumps((function, shared))
        for item in items:
            took.append(len(pickle.dumps(item)))
            there, everything = pickle.loads(sent)
            yield pickle.loads(pickle.dumps(there(everything, pickle.loads(pickle.dumps(item)))))

    return spread


@pytest.mark.parametrize(
    ("strategy", "until", "precision"),
    [("partial", "1", "float32"), ("feature_extraction", None, "float32"), ("partial", "2", "bfloat16")],
)
def test_the_store_has_the_bytes_of_one_that_was_filled_without_shards(
    tmp_path: Path, strategy: Strategy, until: str | None, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, rows = tiny_classifier(folder), tiny_rows(folder, ROWS)
    point, keys = freeze(model, strategy, until, example=rows.batch([0, 1])), row_keys(rows)
    with FeatureStore(tmp_path / "plain") as store:
        ran = fill(store, model, point, rows, keys, precision=precision)
    for size in (1, 7, 10_000):
        monkeypatch.setattr(sharding, "SHARD_ROWS", size)
        took = list[int]()
        with FeatureStore(tmp_path / f"shards of {size}") as store:
            spread = through_pickles(took)
            assert fill(store, model, point, rows, keys, precision=precision, spread=spread) == ran
        assert (len(took) > 1) == (size < ROWS)  # one alone is not worth the way
        for name in (VALUES, INDEX):
            assert (tmp_path / f"shards of {size}" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_vectors_in_memory_are_the_same_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, rows = tiny_classifier(folder), tiny_rows(folder, ROWS)
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    monkeypatch.setattr(sharding, "SHARD_ROWS", 7)
    in_shards = run_through(model, point, rows, "float32", spread=through_pickles([]))
    assert in_shards.equal(run_through(model, point, rows, "float32"))


def test_shards_are_made_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, rows = tiny_classifier(folder), tiny_rows(folder, ROWS)
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    monkeypatch.setattr(sharding, "SHARD_ROWS", 7)
    took = list[int]()
    computing = shards.run_in_shards(model, point, rows, range(ROWS), "float32", through_pickles(took))
    next(computing)
    assert len(took) == 1


def test_a_predictor_answers_to_the_bit_what_it_answers_without_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder, texts = write_tiny_model(tmp_path / "base"), tmp_path / "model", tiny_texts(40 * ROWS)[0]
    save_classifier(tiny_classifier(base), tiny_preprocessor(base), folder)
    predictor, took = predictor_of(folder), list[int]()
    monkeypatch.setattr(sharding, "SHARD_ROWS", 7)
    spread = predictor.spread_over(through_pickles(took))
    assert (spread.predict(texts) == predictor.predict(texts)).all()
    assert len(took) > 1
    assert spread.features(texts).vectors.equal(predictor.features(texts).vectors)
    few = len(took)
    assert spread.of_target(None).predict(texts[:3]).shape == (3, 2)
    assert len(took) == few, "of so few none is worth the way"


@pytest.mark.parametrize("architecture", ["timm resnet", pytest.param("whisper", marks=pytest.mark.long)])
def test_files_go_along_to_whoever_sees_none_of_them(
    tmp_path: Path, architecture: MediaArchitecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, kind = write_tiny_media_model(tmp_path / "base", architecture), kind_of(architecture)
    files, _ = (tiny_images if kind == "image" else tiny_sounds)(3 * 16)
    paths = [tmp_path / "files" / f"{number}{SUFFIXES[kind][0]}" for number in range(len(files))]
    paths[0].parent.mkdir()
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    media = [Medium(path.name, path, sha256(content).hexdigest()) for path, content in zip(paths, files, strict=True)]
    model, preprocessor = tiny_media_classifier(base, architecture), load_preprocessor(base, Reading(kind))
    rows = InputRows(preprocessor, preprocessor.encode(media), torch.zeros(len(media)))
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    expected, took = run_through(model, point, rows, "float32"), list[int]()
    monkeypatch.setattr(sharding, "SHARD_FILES", 16)

    def hidden(function: Callable[[Any, Any], Any], shared: object, items: Iterable[object]) -> Iterator[Any]:
        sent = list(items)
        paths[0].parent.rename(tmp_path / "elsewhere")
        yield from through_pickles(took)(function, shared, sent)
        (tmp_path / "elsewhere").rename(paths[0].parent)

    assert run_through(model, point, rows, "float32", spread=hidden).equal(expected)
    assert sum(took) > sum(map(len, files))
    save_classifier(model, preprocessor, tmp_path / "model")
    predictor = predictor_of(tmp_path / "model")
    assert (predictor.spread_over(hidden).predict(media) == predictor.predict(media)).all()
    paths[5].write_bytes(b"another")
    with pytest.raises(DataRefusedError, match=r"5.*it changed while the line ran"):
        predictor.spread_over(hidden).predict(media)
