"""Vectors of several depths from one pass: what the model computes there, kept once, and shared with trainings."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graftline.frozen.depths import fill_depths, looked_at, place_of, run_through_depths
from graftline.frozen.filling import fill
from graftline.frozen.freezing import FreezePoint, freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.rows import InputRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.parts import HEAD
from tests.support.tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_rows, write_tiny_model


def prepared(folder: Path, architecture: Architecture = "bert") -> tuple[Classifier, FreezePoint, InputRows]:
    write_tiny_model(folder, architecture)
    model, rows = tiny_classifier(folder), tiny_rows(folder, 20)
    return model, freeze(model, "feature_extraction", None, example=rows.batch([0, 1])), rows


@contextmanager
def stores_in(folder: Path, depths: tuple[str, ...]) -> Iterator[Mapping[str, FeatureStore]]:
    with ExitStack() as opened:
        yield {depth: opened.enter_context(FeatureStore(folder / depth.replace(".", "-"))) for depth in depths}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_depth_is_the_mean_over_a_rows_own_tokens(tmp_path: Path, architecture: Architecture) -> None:
    model, point, rows = prepared(tmp_path, architecture)
    (depth, *_) = looked_at(point.frozen_blocks)
    found = run_through_depths(model, point, rows, (depth, HEAD), precision="float32", runtime="torch")
    seen: list[Tensor] = []
    model.get_submodule(depth).register_forward_hook(
        lambda _module, _args, answer: seen.append(answer[0] if isinstance(answer, tuple) else answer)
    )
    model.eval()
    for row in range(len(rows.encoded)):  # alone, a row has no padding
        with torch.no_grad():
            model(**rows.batch([row]))
        assert torch.allclose(found[depth][row], seen[-1][0].mean(0), atol=1e-5)


def test_the_rows_run_once_and_the_heads_vectors_are_those_that_a_training_keeps(tmp_path: Path) -> None:
    model, point, rows = prepared(tmp_path / "model")
    depths, keys = (*looked_at(point.frozen_blocks), HEAD), row_keys(rows)
    with stores_in(tmp_path, depths) as stores:
        assert fill_depths(stores, model, point, rows, keys, precision="float32", runtime="torch") == len(set(keys))
        assert fill_depths(stores, model, point, rows, keys, precision="float32", runtime="torch") == 0
        assert fill(stores[HEAD], model, point, rows, keys) == 0
        kept = {depth: store.batch(keys) for depth, store in stores.items()}
    plain = run_through_depths(model, point, rows, depths, precision="float32", runtime="torch")
    assert all(torch.equal(kept[depth], plain[depth]) for depth in depths)
    with FeatureStore(tmp_path / "training") as store:
        fill(store, model, point, rows, keys)
        assert torch.equal(store.batch(keys), kept[HEAD])


def test_a_store_that_lacks_rows_gets_them_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    model, point, rows = prepared(tmp_path / "model")
    depths, keys = (*looked_at(point.frozen_blocks), HEAD), row_keys(rows)
    with stores_in(tmp_path, depths) as stores:
        fill(stores[HEAD], model, point, rows, keys)
        size = (tmp_path / HEAD / "values.bin").stat().st_size
        assert fill_depths(stores, model, point, rows, keys, precision="float32", runtime="torch") == len(set(keys))
        assert all(not store.missing(keys) for store in stores.values())
    assert (tmp_path / HEAD / "values.bin").stat().st_size == size


def test_a_model_is_looked_at_behind_a_quarter_a_half_and_three_quarters_of_its_blocks() -> None:
    names = [f"block{number}" for number in range(1, 13)]
    assert looked_at(names) == ("block3", "block6", "block9")
    assert looked_at(names[:3]) == ("block1", "block2")
    assert looked_at(names[:1]) == looked_at([]) == ()


def test_each_depth_has_a_store_of_its_own_name(tmp_path: Path) -> None:
    _, point, _ = prepared(tmp_path)
    assert place_of(point, HEAD) == point
    assert place_of(point, "a").first_trainable != place_of(point, "b").first_trainable != point.first_trainable
