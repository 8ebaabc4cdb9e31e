"""The scores of every task and every kind of input, from vectors of base models and nothing else."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from benchmarks.scores.projects import write_data_pointer
from graftline.answers.tasks import TASKS
from graftline.flows.rank import rank
from graftline.settings import Kind, Settings, Task, parse_settings, read_settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion
from graftline.tasks.ranking.features import Depth, SeenBase
from graftline.tasks.ranking.scores import NOT_OF, SCORES, score_base
from graftline.tasks.step_folders import StepFolder
from tests.support.tiny_media import MediaArchitecture, write_tiny_media_model
from tests.support.tiny_media_files import write_tiny_images, write_tiny_sounds

ROWS = {"train": 80, "validation": 60}
HERE = Path("nowhere")
TARGETS: Mapping[Task, list[str]] = {
    "single_label": ["a", "b", "c", "a", "b"],
    "multi_label": ["a", "b", "a|b", "b|c", "c"],
    "regression": ["1.5", "-2", "0", "3", "1"],
}


def settings_of(task: Task) -> Settings:
    return parse_settings(
        {
            "data": {"path": "data/rows.csv", "task": task},
            "base_model": {"uri": "path:present"},
            "evaluation": {"bootstrap": 100},
            "registry": {"model": "tiny"},
        },
        "a test",
    )


def seen_as(task: Task, *, told: bool) -> tuple[ValidatedData, SeenBase]:
    """A base model whose vectors tell the targets, or do not."""
    kind = TASKS[task].outputs
    labels = () if task == "regression" else ("a", "b", "c")
    names = {split: [TARGETS[task][row % 5] for row in range(count)] for split, count in ROWS.items()}
    targets = {split: kind.read(of_split, labels, "|") for split, of_split in names.items()}
    outputs = kind.outputs_for(labels, targets["train"])
    learned = {split: kind.as_learned(outputs, of_split) for split, of_split in targets.items()}
    vectors = {split: _vectors(learned[split], labels, told=told) for split in ROWS}
    base = BaseModel("path:base", "1", "digest", HERE, "mit", 1, (), "reused")
    seen = SeenBase(base, outputs, targets, learned, 1, 1.0, (Depth("head", None, vectors),))
    data = ValidatedData(
        folder=StepFolder(HERE, "key", "ran"), data=DataVersion("v", False, (), "d", HERE, "data"), read=1, accepted=1,
        quarantined=0, twins=0, kind="text", task=task, input="text", labels=labels, label_separator="|",
        split_rows=ROWS, split_from="hash", split_sha256="", test_sha256="", sha256="", page=HERE, sample_bits=0,
    )  # fmt: skip
    return data, seen


def _vectors(learned: Tensor, labels: tuple[str, ...], *, told: bool) -> Tensor:
    columns = torch.nn.functional.one_hot(learned, len(labels)).float() if learned.ndim == 1 else learned
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(len(learned), 6, generator=random)
    return torch.cat([columns + 0.2 * noise[:, : columns.shape[1]], noise], 1) if told else noise


@pytest.mark.parametrize("task", TASKS)
def test_every_score_that_a_task_has_is_higher_where_vectors_tell_the_targets(task: Task) -> None:
    settings = settings_of(task)
    told, silent = (score_base(settings, *seen_as(task, told=known)).last for known in (True, False))
    for name in SCORES:
        better, worse = told.of(name), silent.of(name)
        if name in NOT_OF.get(task, {}):
            assert better is worse is None
        else:
            assert better is not None
            assert worse is not None
            assert better > worse
    assert told.head.low <= told.head.value <= told.head.high


@pytest.mark.parametrize(
    ("kind", "architectures"), [("image", ("timm resnet", "vit")), ("audio", ("wav2vec2", "whisper"))]
)
def test_pictures_and_sounds_are_ranked_at_the_depths_of_their_models(
    tmp_path: Path, kind: Kind, architectures: tuple[MediaArchitecture, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in architectures:
        write_tiny_media_model(tmp_path / name.replace(" ", "-"), name)
    {"image": write_tiny_images, "audio": write_tiny_sounds}[kind](tmp_path / "data" / "files", 60)
    write_data_pointer(tmp_path)
    first, *others = [f"path:{name.replace(' ', '-')}" for name in architectures]
    tree = {
        "data": {"path": "data/files", "kind": kind, "min_rows_per_class": 2},
        "base_model": {"uri": first},
        "base_models": others,
        "adaptation": {"threads": 1, "device": "cpu"},
        "evaluation": {"bootstrap": 100},
        "registry": {"model": "tiny"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    found = rank(tmp_path, read_settings(tmp_path / "params.yaml"), say=lambda _: None)
    assert isinstance(found["tuning"], dict)
    assert isinstance(found["tuning"]["blocks"], list)
    assert len(found["tuning"]["blocks"]) > 1
    assert isinstance(found["models"], list)
    assert len(found["models"]) == 2
    for model in found["models"]:
        assert isinstance(model, dict)
        assert isinstance(model["depths"], list)
        assert len(model["depths"]) > 1
