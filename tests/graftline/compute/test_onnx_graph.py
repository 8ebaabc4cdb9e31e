"""A model as one graph of ONNX: it answers as PyTorch does, inputs of any number and length."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
from torch import nn

from graftline.answers.predicting import predictor_of
from graftline.compute.onnx_graph import GRAPH, OUTPUTS, write_graph
from graftline.errors import SettingsError
from graftline.models.folders import load_classifier, load_preprocessor, save_classifier
from graftline.models.preprocessing import Raw
from tests.support.tiers import seldom
from tests.support.tiny_media import (
    MediaArchitecture,
    kind_of,
    tiny_images,
    tiny_media_classifier,
    tiny_media_rows,
    tiny_sounds,
    write_tiny_media_model,
)
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, tiny_texts, write_tiny_model

pytestmark = pytest.mark.full


def written(folder: Path, architecture: MediaArchitecture | Literal["bert"]) -> tuple[Path, list[Raw]]:
    """An adapted model in a folder, and inputs for it that differ in length."""
    base, adapted = folder / "base", folder / "adapted"
    raws: list[Any]
    if architecture == "bert":
        write_tiny_model(base)
        save_classifier(tiny_classifier(base), tiny_preprocessor(base), adapted)
        raws = [*tiny_texts(6)[0], "good", " ".join(tiny_texts(4)[0])]
    else:
        write_tiny_media_model(base, architecture)
        rows = tiny_media_rows(base, architecture, 1)
        save_classifier(tiny_media_classifier(base, architecture), rows.preprocessor, adapted)
        drawn = tiny_images if kind_of(architecture) == "image" else tiny_sounds
        raws = drawn(4)[0]
    return adapted, raws


@pytest.mark.parametrize("architecture", seldom(["bert", "timm resnet", "wav2vec2"], "bert", "timm resnet"))
def test_a_graph_answers_as_the_model_does_and_holds_its_head(
    tmp_path: Path, architecture: MediaArchitecture | Literal["bert"]
) -> None:
    folder, raws = written(tmp_path, architecture)
    preprocessor = load_preprocessor(folder)
    write_graph(
        load_classifier(folder), preprocessor.collate(preprocessor.encode(raws[:1])), folder / GRAPH, weights="float32"
    )
    plain, graph = predictor_of(folder), predictor_of(folder, runtime="onnx")
    assert graph.predict(raws) == pytest.approx(plain.predict(raws), abs=1e-5)
    assert np.asarray(graph.features(raws).vectors) == pytest.approx(np.asarray(plain.features(raws).vectors), abs=1e-4)
    # For runtimes without our code the same graph gives what the head says, of two inputs at once, too.
    session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])
    batch = preprocessor.collate(preprocessor.encode([raws[0], raws[0]]))
    (outputs,) = session.run([OUTPUTS], {one.name: batch[one.name].numpy() for one in session.get_inputs()})
    assert outputs == pytest.approx(np.asarray(plain.features([raws[0], raws[0]]).outputs), abs=1e-4)


def test_without_a_graph_beside_the_weights_it_says_what_makes_one(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, "bert")
    with pytest.raises(ValueError, match=r"model\.onnx is not there; `graftline export` makes a version that has one"):
        predictor_of(folder, runtime="onnx")


def test_a_model_that_is_no_graph_is_named(tmp_path: Path) -> None:
    class Depends(nn.Module):
        head = nn.Identity()

        def features(self, **batch: Any) -> Any:
            return batch["input_ids"] if int(batch["input_ids"].sum()) > 3 else -batch["input_ids"]

    folder, raws = written(tmp_path, "bert")
    preprocessor = load_preprocessor(folder)
    with pytest.raises(SettingsError, match="Depends cannot be written as a graph of ONNX"):
        write_graph(Depends(), preprocessor.collate(preprocessor.encode(raws[:1])), tmp_path / GRAPH, weights="float32")
    assert not (tmp_path / GRAPH).exists()
