"""The settings in examples/: each is taken, all kinds and tasks occur, and most of them run on tiny data and models."""

import csv
import random
import shutil
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.scores.projects import git, write_data_pointer
from graftline.settings import Kind, Settings, Task, read_settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.workspace import Workspace
from tests.support.running_project import PROJECT
from tests.support.tiers import seldom
from tests.support.tiny_media import write_tiny_media_model
from tests.support.tiny_media_files import write_tiny_images
from tests.support.tiny_models import BAD, FILLERS, GOOD, write_tiny_model
from tests.support.tiny_project import empty_store, run_line, workspace, write_policy
from tests.support.warm_processes import warm

__all__ = ["empty_store", "warm", "workspace"]

EXAMPLES = sorted((PROJECT / "examples").glob("*.yaml"))
RUN = ("few_rows", "images", "numbers", "several_labels")
# A base model of some kilobytes in place of the example's, and what so few rows and so small a model need.
TINY = (
    "base_model.uri=path:base", "adaptation.threads=1", "adaptation.device=cpu", "adaptation.max_tokens=32",
    "evaluation.bootstrap=100", "data.near_duplicate_bits=0", "data.test_share=0.25", "data.max_quarantined=0.3",
)  # fmt: skip
ROWS = 80


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_taken(example: Path) -> None:
    assert read_settings(example).registry.model


def test_there_is_an_example_for_every_kind_and_task() -> None:
    data = [read_settings(example).data for example in EXAMPLES]
    assert {one.kind for one in data} == set(get_args(Kind))
    assert {one.task for one in data} == set(get_args(Task))


@pytest.mark.full
@pytest.mark.parametrize("name", seldom(RUN, *RUN[1:]))
def test_an_example_runs_to_a_verdict(name: str, workspace: Workspace) -> None:
    root = workspace.root
    shutil.copy(PROJECT / "examples" / f"{name}.yaml", root / "params.yaml")
    settings = read_settings(root / "params.yaml", list(TINY))
    write_data(root, settings)
    write_data_pointer(root)
    lock_model(workspace, "path:base")
    write_policy(root, baselines=[])
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "params.yaml")
    git(root, "commit", "--quiet", "--message", "an example")
    line = run_line(root, list(TINY))
    assert line.decision.verdict in ("PROMOTE", "HOLD", "REJECT")
    assert line.report.is_file()


def write_data(root: Path, settings: Settings) -> None:
    """Rows of the example's kind and task where its settings say, and a tiny base model for them."""
    if settings.data.kind == "image":
        write_tiny_images(root / settings.data.path, ROWS)
        write_tiny_media_model(root / "base", "timm resnet")
        return
    write_tiny_model(root / "base")
    drawn, path = random.Random(0), root / settings.data.path
    path.parent.mkdir()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([settings.data.input, settings.data.target])
        for number in range(ROWS):
            words = [*drawn.choices(FILLERS, k=6), *drawn.choices(GOOD if number % 2 else BAD, k=2)]
            writer.writerow([" ".join(words), target_of(number, settings.data.task)])


def target_of(number: int, task: Task) -> str:
    """What the row of this number has as its target."""
    good = number % 2
    targets = {"single_label": ("bad", "good"), "multi_label": ("bad", "good|new"), "regression": ("1.5", "4")}
    return targets[task][good]
