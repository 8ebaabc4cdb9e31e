"""From `graftline init` to a champion, for data of five kinds that no file of this repository speaks of."""

import csv
import html
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from benchmarks.scores.projects import git
from graftline.errors import RegistryRefusedError
from graftline.flows.init import init
from graftline.settings import read_settings
from graftline.tasks.projects.questions import Wishes
from graftline.tasks.registry.versions import champion_of
from graftline.tasks.reproduction import original
from graftline.tasks.steps.result import result_of
from tests.support.tiny_media import write_tiny_audio_model, write_tiny_image_model
from tests.support.tiny_media_files import write_tiny_images, write_tiny_sounds
from tests.support.tiny_models import BAD, FILLERS, GOOD, write_tiny_model
from tests.support.tiny_project import Line, connected, run_line, write_project

QUICK = [
    "adaptation.strategy=feature_extraction", "adaptation.max_tokens=32", "adaptation.threads=1",
    "adaptation.device=cpu", "adaptation.precision=float32", "evaluation.bootstrap=100",
]  # fmt: skip
WORDS = {"billing": GOOD[0], "bugs": BAD[0], "login": GOOD[1], "praise": BAD[1], "returns": GOOD[2]}


def five_classes(folder: Path) -> Path:
    return _table(folder / "tickets.csv", "queue", lambda drawn, _: [drawn.choice(list(WORDS))])


def several_labels(folder: Path) -> Path:
    return _table(folder / "topics.csv", "topics", lambda drawn, _: drawn.sample(list(WORDS), drawn.randint(1, 3)))


def numbers(folder: Path) -> Path:
    path = folder / "praise.csv"
    drawn = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["comment", "rating"])
        for _ in range(300):
            good = drawn.randint(0, 6)
            words = [*drawn.choices(GOOD, k=good), *drawn.choices(BAD, k=6 - good)]
            writer.writerow([" ".join(words), f"{good + drawn.uniform(-0.3, 0.3):.2f}"])
    return path


def pictures(folder: Path) -> Path:
    write_tiny_images(folder / "parts", 200)
    return folder / "parts"


def sounds(folder: Path) -> Path:
    write_tiny_sounds(folder / "machines" / "train", 150)
    write_tiny_sounds(folder / "machines" / "test", 50, seed=1)
    return folder / "machines"


def _table(path: Path, target: str, draw: Callable[[random.Random, int], list[str]]) -> Path:
    drawn = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", target])
        for number in range(300):
            labels = draw(drawn, number)
            words = [*drawn.choices(FILLERS, k=5), *(WORDS[label] for label in labels for _ in range(2))]
            drawn.shuffle(words)
            writer.writerow([" ".join(words), "|".join(labels)])
    return path


def write_base(root: Path, kind: str) -> None:
    folder = root / "base_models" / "tiny"
    folder.parent.mkdir(parents=True)
    if kind == "text":
        write_tiny_model(folder)
    elif kind == "image":
        write_tiny_image_model(folder, "resnet")
    else:
        write_tiny_audio_model(folder, "whisper")


@pytest.mark.full
@pytest.mark.parametrize(
    ("make", "kind", "task", "rows"),
    [
        (several_labels, "text", "multi_label", 300),
        pytest.param(numbers, "text", "regression", 300, marks=pytest.mark.long),
        (pictures, "image", "single_label", 200),
        pytest.param(sounds, "audio", "single_label", 200, marks=pytest.mark.long),
    ],
)
def test_own_data_become_a_champion(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path], kind: str, task: str, rows: int,
) -> None:  # fmt: skip
    root = tmp_path / "fresh folder"
    write_base(root, kind)
    git(root, "init", "--quiet", "--initial-branch", "main")
    init(root, Wishes(data=str(make(tmp_path))), say=lambda _: None)
    settings = read_settings(root / "params.yaml")
    assert (settings.data.kind, settings.data.task) == (kind, task)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "begin")
    line = adapted(root, empty_store, monkeypatch)
    assert (line.data.read, line.data.quarantined) == (rows, 0)
    assert line.decision.verdict == "PROMOTE", line.decision.reasons
    assert champion_of(settings.registry.model) == 1
    assert line.run.unrepeatable is None
    assert "graftline reproduce" in line.report.read_text()


@pytest.mark.full
def test_without_git_there_is_a_champion_whose_pages_say_that_it_cannot_be_reproduced(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "no repository"
    write_base(root, "text")
    init(root, Wishes(data=str(five_classes(tmp_path)), target="queue"), say=lambda _: None)
    line = adapted(root, empty_store, monkeypatch)
    assert (line.decision.verdict, champion_of("tickets")) == ("PROMOTE", 1)
    why = "there is no commit of the project to go back to"
    assert f"reproduce   not possible: {why}" in str(result_of(line.done, line.report, 0.0)["summary"])
    assert f"Not possible: {why}." in line.report.read_text()
    assert f"Not possible: {why}." in line.report.with_name("model_card.md").read_text()
    assert MlflowClient().get_run(line.run.run_id).data.tags["graftline.reproducible"] == f"no: {why}"


@pytest.mark.full
def test_that_git_refuses_to_tell_the_commit_stands_on_every_page_with_gits_remedy(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path / "project")
    connected(root, empty_store, monkeypatch)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container that mounts the project
    for _ in range(2):  # the second finds the finished run
        line = run_line(root)
        tags = MlflowClient().get_run(line.run.run_id).data.tags
        said = [
            line.report.read_text(),
            line.report.with_name("model_card.md").read_text(),
            tags["mlflow.note.content"],
            tags["graftline.reproducible"],
            str(result_of(line.done, line.report, 0.0)["summary"]),
        ]
        shown = [html.unescape(one).replace("\\", "") for one in said]  # as HTML and Markdown show it
        assert ["git config --global --add safe.directory" in one for one in shown] == [True] * 5
    with pytest.raises(RegistryRefusedError, match=r"its commit is not known, for when it was made git refuses"):
        original(line.workspace, "tiny", 1)


def adapted(root: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    # Few rows show no model to be better than words alone or than its own frozen self.
    (root / "mlflow" / "promotion.yaml").write_text(yaml.safe_dump({"baselines": []}))
    connected(root, empty_store, monkeypatch)
    return run_line(root, QUICK)
