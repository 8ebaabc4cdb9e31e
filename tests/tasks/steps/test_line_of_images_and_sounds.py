"""The line from files to a registered model, for images and sounds: trained, scored, asked as clients ask."""

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from mlflow.pyfunc import PyFuncModel, scoring_server

from benchmarks.scores.projects import git, write_data_pointer
from graftline.answers.predicting import predictor_of
from graftline.answers.tasks import TASKS
from graftline.evaluation.examples import Answer, Example, ExampleGroup, Examples
from graftline.settings import Kind, Task
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.data.accepted_rows import read_split
from graftline.tasks.serving.answering import open_registered
from graftline.tasks.serving.predicting import Trained, predict_table
from graftline.tasks.steps.report_examples import MOST_MEDIA_CHARACTERS, example_rows
from graftline.tasks.tracking.server import model_folder
from graftline.tasks.workspace import Workspace
from tests.support.tiny_media import MediaArchitecture, write_tiny_media_model
from tests.support.tiny_media_files import write_tiny_images, write_tiny_sounds
from tests.support.tiny_project import Line, empty_store, run_line, workspace

__all__ = ["empty_store", "workspace"]

ROWS = 60
WRITERS = {"image": write_tiny_images, "audio": write_tiny_sounds}
BASES: dict[Kind, MediaArchitecture] = {"image": "timm resnet", "audio": "wav2vec2"}


@dataclass(frozen=True)
class Registered:
    """A registered model of images or sounds, and files that it was scored on."""

    line: Line
    kind: Kind
    paths: list[Path]

    def model(self) -> PyFuncModel:
        loaded: PyFuncModel = mlflow.pyfunc.load_model("models:/tiny/1")
        return loaded

    def expected(self) -> list[dict[str, Any]]:
        predictor = predictor_of(self.line.checkpoint.model)
        labels = predictor.outputs.labels
        return [
            {"label": labels[row.argmax()], "probabilities": dict(zip(labels, row, strict=True))}
            for row in predictor.predict(self.paths)
        ]


def write_media_project(root: Path, kind: Kind, base: MediaArchitecture, **adaptation: object) -> Path:
    """A project of files of two classes and a tiny base model."""
    WRITERS[kind](root / "data" / "files", ROWS)
    write_data_pointer(root)
    write_tiny_media_model(root / "base", base)
    settings = {
        "data": {
            "path": "data/files", "kind": kind, "min_rows_per_class": 5, "test_share": 0.25, "max_quarantined": 0.2,
            "near_duplicate_bits": 0,
        },
        "base_model": {"uri": "path:base"},
        "adaptation": {
            "strategy": "partial", "freeze_until": "2", "epochs": 4, "learning_rate": 1e-3, "head_learning_rate": 1e-2,
            "batch_size": 8, "threads": 1, "device": "cpu", **adaptation,
        },
        "evaluation": {"bootstrap": 100, "probe": "data/files"},
        "registry": {"model": "tiny"},
    }  # fmt: skip
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (root / ".gitignore").write_text("/artifacts/\n/reports/\n/mlflow/\n/data/\n/.dvc/\n")
    lock_model(Workspace(root), "path:base")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "a tiny project")
    return root


@pytest.fixture(params=["image", pytest.param("audio", marks=pytest.mark.long)])
def registered(request: pytest.FixtureRequest, workspace: Workspace) -> Registered:
    kind: Kind = request.param
    root = write_media_project(workspace.root, kind, BASES[kind])
    line = run_line(root)
    return Registered(line, kind, sorted((root / "data" / "files").rglob("*.*"))[:3])


def predict(model: PyFuncModel, form: Any) -> list[dict[str, Any]]:
    answer: Any = model.predict(form)
    rows: list[dict[str, Any]] = answer.to_dict("records")
    return rows


def agree(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    assert [row["label"] for row in got] == [row["label"] for row in expected]
    return all(
        g["probabilities"] == pytest.approx(e["probabilities"], abs=1e-6) for g, e in zip(got, expected, strict=True)
    )


def check_predictions(registered: Registered, expected: list[dict[str, Any]]) -> None:
    """`graftline predict` of a folder, and of a table whose files lie below data/: bad files are rows like others."""
    root = registered.line.workspace.root
    folder, first = root / "incoming", registered.paths[0]
    (folder / "deep").mkdir(parents=True)
    for path in registered.paths:
        shutil.copy(path, folder / "deep" / path.name)
    (folder / f"cut{first.suffix}").write_bytes(first.read_bytes()[:60])
    (folder / "notes.txt").write_text("no medium")
    trained = Trained("input", "|")
    with model_folder(registered.line.workspace, "models:/tiny/1") as stored:
        model = open_registered("tiny version 1", stored, registered.line.checkpoint.weights_sha256)
        done = predict_table(model, trained, folder, root / "out.csv", data=root / "data")
    rows = pd.read_csv(root / "out.csv").to_dict("records")
    assert (done.read, done.answered, done.refused) == (5, 3, 2)
    assert [row["file"] for row in rows] == [
        f"cut{first.suffix}", *(f"deep/{path.name}" for path in registered.paths), "notes.txt",
    ]  # fmt: skip
    assert [row["answer"] for row in rows[1:4]] == [row["label"] for row in expected]
    assert "that can be read" in rows[0]["error"]
    assert "input 0" not in rows[0]["error"]
    assert rows[4]["error"].startswith("ends in '.txt', expected one of")

    (root / "asked.csv").write_text(f"input,n\n{first.relative_to(root / 'data')},1\n../../outside{first.suffix},2\n")
    predict_table(model, trained, root / "asked.csv", root / "out.csv", data=root / "data")
    near, outside = pd.read_csv(root / "out.csv").to_dict("records")
    assert near["answer"] == expected[0]["label"]
    assert ".." in outside["error"] or "outside" in outside["error"] or "leaves" in outside["error"]


@pytest.mark.full
def test_files_become_a_registered_model_that_answers_every_usual_form(registered: Registered) -> None:
    check_what_was_looked_at(registered)
    # Registration has asked it for all held-out files in a fresh process and compared every bit.
    assert registered.line.candidate.version == 1
    assert registered.line.evaluation.scores["accuracy"]["value"] > 0.6
    contents = [path.read_bytes() for path in registered.paths]
    encoded = [base64.b64encode(content).decode() for content in contents]
    paths, model, expected = registered.paths, registered.model(), registered.expected()
    forms: list[Any] = [
        contents, encoded, paths, np.array(contents, dtype=object), pd.Series(paths),
        pd.DataFrame({registered.kind: contents}), pd.DataFrame({"any name": encoded}),
        [contents[0], encoded[1], paths[2]],
    ]  # fmt: skip
    for form in forms:
        assert agree(predict(model, form), expected)
    assert agree(predict(model, paths[0]), expected[:1])
    assert agree(predict(model, contents[0]), expected[:1])
    client = TestClient(scoring_server.init(model))
    for body in (
        {"inputs": encoded},
        {"dataframe_split": {"columns": ["file"], "data": [[text] for text in encoded]}},
        {"dataframe_records": [{"file": text} for text in encoded]},
    ):
        answer = client.post("/invocations", json=body)
        assert answer.status_code == 200
        assert agree(answer.json()["predictions"], expected)
    with pytest.raises(ValueError, match=r"input 1 is 'nowhere\.png', expected the bytes of"):
        predict(model, [paths[0], "nowhere.png"])
    with pytest.raises(ValueError, match="input 1 is None, expected the bytes of"):
        predict(model, [contents[0], None])
    with pytest.raises(ValueError, match=r"input 0: no (image|sound) that can be read"):
        predict(model, [contents[0][:60]])

    example = mlflow.models.Model.load(model.metadata.get_model_info().model_uri).load_input_example()
    assert len(predict(model, example)) == 1
    check_predictions(registered, expected)
    card = (registered.line.report.parent / "model_card.md").read_text()
    assert {"image": "Takes an image and answers", "audio": "Takes a sound and answers"}[registered.kind] in card
    check_that_files_can_be_seen_and_heard(registered)


def check_that_files_can_be_seen_and_heard(registered: Registered) -> None:
    """On a report; here all answers are right, so that it has no examples of its own."""
    line = registered.line
    shown = TASKS["single_label"].shown
    rows = read_split(line.data, "test", ["row_id", "input"])
    answer = Answer("x", 0.9)
    examples = [Example(row_id, "y", answer, answer) for row_id in rows["row_id"]]
    group = ExampleGroup("most surely wrong", len(examples), examples)
    (found,) = example_rows(line.workspace, line.data, Examples("it", [group]), shown)
    assert [row.holds for row in found.shown] == [f"data/{name}" for name in rows["input"]]
    kind = {"image": "image/jpeg", "audio": "audio/wav"}[registered.kind]
    there = [row.address for row in found.shown if row.address]
    assert there
    assert all(address.startswith(f"data:{kind};base64,") for address in there)
    assert sum(map(len, there)) <= MOST_MEDIA_CHARACTERS
    assert all(bool(row.address) != bool(row.missing) for row in found.shown)


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "base"),
    # Of each library and each way to read one; `python -m tests.hunts.every_family` runs all families and strategies.
    [("image", "convnext"), pytest.param("audio", "wav2vec2 group norm", marks=pytest.mark.long)],
)
def test_other_families_go_through_the_whole_line_whose_random_views_are_kept_and_which_serves_rows_as_they_are(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, kind: Kind, base: MediaArchitecture
) -> None:
    caplog.set_level("INFO", logger="graftline.fine_tune")
    root = write_media_project(workspace.root, kind, base, epochs=2, augmentation="light", views=2)
    line = run_line(root)
    # Registration has compared the answers of a fresh process for the held-out files with those that were scored.
    assert line.candidate.version == 1
    assert line.report.exists()
    train, validation = (len(read_split(line.data, side, ["input"])["input"]) for side in ("train", "validation"))
    ran = 2 * train + validation
    assert f"frozen part: ran once for {ran} rows, 0 were kept" in caplog.text


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "base", "task"),
    [
        pytest.param("image", "timm vit", "multi_label", marks=pytest.mark.long),
        ("audio", "whisper", "regression"),
    ],
)
def test_tables_of_paths_with_several_labels_or_numbers_go_through_the_whole_line(
    workspace: Workspace, kind: Kind, base: MediaArchitecture, task: Task
) -> None:
    root = write_media_project(workspace.root, kind, base, epochs=1)
    write_table_of_paths(root, task)
    line = run_line(root)
    # Registration has asked it for all held-out files in a fresh process and compared every bit.
    assert (line.candidate.version, line.data.accepted) == (1, ROWS)
    paths = sorted((root / "data" / "files").rglob("*.*"))[:3]
    model: PyFuncModel = mlflow.pyfunc.load_model("models:/tiny/1")
    said = predict(model, paths)
    assert said == predict(model, [path.read_bytes() for path in paths])
    assert [set(row) for row in said] == [{"labels", "probabilities"} if task == "multi_label" else {"value"}] * 3


def write_table_of_paths(root: Path, task: Task) -> None:
    """The same files, named in a table: with their class and, for some, one label more; or with a number."""
    files = sorted(path for path in (root / "data" / "files").rglob("*.*"))
    classes = sorted({path.parent.name for path in files})
    lines = ["file,target"]
    for number, path in enumerate(files):
        labels = f"{path.parent.name}|odd" if number % 2 else path.parent.name
        value = 10 * classes.index(path.parent.name) + number % 3
        lines.append(f"{path.relative_to(root / 'data')},{labels if task == 'multi_label' else value}")
    (root / "data" / "table.csv").write_text("\n".join(lines) + "\n")
    write_data_pointer(root)
    settings = yaml.safe_load((root / "params.yaml").read_text())
    labelled = {"labels": [*classes, "odd"]} if task == "multi_label" else {}
    settings["data"] |= {"path": "data/table.csv", "input": "file", "target": "target", "task": task, **labelled}
    del settings["evaluation"]["probe"]  # which has classes
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    git(root, "commit", "--quiet", "--all", "--message", "a table")


def check_what_was_looked_at(registered: Registered) -> None:
    """Files were changed in the ways of their kind, and the model stood what nobody should send."""
    behaviour = registered.line.evaluation.held_out.behaviour
    assert [change.name for change in behaviour.changes] == {
        "image": ["darker", "brighter", "blurred", "shifted"], "audio": ["softer", "louder", "noise", "resampled"],
    }[registered.kind]  # fmt: skip
    retention = behaviour.retention
    assert retention is not None
    assert retention.learned_from + retention.gains.rows == registered.line.data.accepted
    assert not retention.unchanged
    trial = registered.line.candidate.trial
    assert trial is not None
    assert set(trial.hostile.values()) <= {"refused", "answered"}
    assert trial.hostile["an empty text"] == "refused"
