"""A table or a folder in, a table out: every row is there, in order, with an answer or the reason why it has none."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from graftline.answers.predicting import predictor_of
from graftline.errors import DataRefusedError, RegistryRefusedError, SettingsError
from graftline.flows.cli import app
from graftline.models.outputs import Outputs
from graftline.tasks.serving import predicting
from graftline.tasks.serving.answering import ADAPTED, RegisteredModel, answering, open_registered, require_openvino
from graftline.tasks.serving.predicting import Trained, predict_table
from graftline.tasks.tracking.server import model_folder
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import LABELS, MODEL, Line

TRAINED = Trained("text", "|")
TEXTS = ["a good film with some great actor", "the plot was awful and very dull"]


@pytest.fixture
def inside(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(adapted.workspace.root)
    return adapted


def predicted(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["predict", *arguments])


def table(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def refused(source: Path, target: Path, kind: Any = "text") -> None:
    """A prediction that ends before any model is asked."""
    model = RegisteredModel("tiny version 1", Path("/nowhere"), kind, Outputs("single_label", LABELS))
    predict_table(model, TRAINED, source, target, data=source.parent)


@pytest.mark.full
def test_rows_keep_their_columns_and_order_and_bad_ones_say_why(inside: Line, tmp_path: Path) -> None:
    good, bad = TEXTS
    source = table(
        tmp_path / "in.csv", f'answer,text,kept\n1,{good},x\n2,,y\n3,"{bad}"\n4,\udcff\udcfe,z\n5,{bad},"=1+1, a"\n'
    )
    done = predicted(str(source), str(tmp_path / "out.csv"), "--json")
    assert done.exit_code == DataRefusedError.exit_code, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["rows"] == {"read": 5, "answered": 2, "refused": 3}
    assert (told["model"], told["version"]) == (MODEL, 1)
    rows = rows_of(tmp_path / "out.csv")
    assert [row["answer"] for row in rows] == ["1", "2", "", "4", "5"]
    assert [row["kept"] for row in rows] == ["x", "y", "", "z", "=1+1, a"]
    assert rows[3]["text"] == "\udcff\udcfe"
    # A column of the input has the name of ours.
    assert [row["graftline.error"] for row in rows] == [
        "", "text is empty", "line 4: 2 cells, expected 3 as in the header", "the text is not UTF-8", "",
    ]  # fmt: skip
    expected = predictor_of(inside.checkpoint.model).predict(TEXTS)
    for row, probabilities in zip((rows[0], rows[4]), expected, strict=True):
        assert row["graftline.answer"] == LABELS[probabilities.argmax()]
        seen = [float(row[f"graftline.probability.{label}"]) for label in LABELS]
        # Not bit for bit: batches of another shape.
        assert seen == pytest.approx(probabilities.tolist(), abs=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv"}


@pytest.mark.full
def test_the_champion_answers_the_only_column_of_any_name_in_every_form(inside: Line, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"anything": text}) + "\n" for text in TEXTS * 400)
    source = table(tmp_path / "in.jsonl", lines)
    done = predicted(str(source), str(tmp_path / "out.parquet"), "--model", MODEL, "--version", "1")
    assert done.exit_code == 0, done.output
    assert "tiny version 1 answered 800 of 800 rows" in done.stdout
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["anything", "answer", *(f"probability.{label}" for label in LABELS), "error"]
    assert found["anything"].to_pylist() == TEXTS * 400
    assert set(found["error"].to_pylist()) == {None}
    faster = predicted(str(source), str(tmp_path / "faster.parquet"), "--runtime", "openvino")
    assert faster.exit_code == 0, faster.output
    other = parquet.read_table(tmp_path / "faster.parquet")
    assert other["answer"].to_pylist() == found["answer"].to_pylist()
    name = f"probability.{LABELS[0]}"
    assert other[name].to_pylist() == pytest.approx(found[name].to_pylist(), abs=1e-4)
    assert other[name].to_pylist() != found[name].to_pylist()  # it did compute otherwise
    again = predicted(str(tmp_path / "out.parquet"), str(tmp_path / "out.jsonl"))
    assert again.exit_code == DataRefusedError.exit_code  # several columns, none of them called text


@pytest.mark.long
def test_a_kill_in_the_middle_costs_one_part_and_no_byte(inside: Line, tmp_path: Path) -> None:
    texts = [f"{TEXTS[row % 2]} {'very ' * (row % 5)}" for row in range(200)]
    source, killed = table(tmp_path / "in.csv", "text\n" + "\n".join(texts) + "\n"), tmp_path / "killed.csv"
    with model_folder(inside.workspace, f"models:/{MODEL}/1") as stored, pytest.MonkeyPatch.context() as patch:
        patch.setitem(predicting.CHUNK_ROWS, "text", 8)
        patch.setattr(predicting, "PART_CHUNKS", 2)
        model = open_registered("tiny version 1", stored, inside.checkpoint.weights_sha256)
        predict_table(model, TRAINED, source, tmp_path / "whole.csv", data=tmp_path)
        process = multiprocessing.get_context("fork").Process(
            target=lambda: predict_table(model, TRAINED, source, killed, data=tmp_path)
        )
        process.start()
        while process.is_alive() and not (tmp_path / ".killed.csv.parts" / "00000001.json").exists():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done = predict_table(model, TRAINED, source, killed, data=tmp_path)
    assert (done.read, done.answered) == (200, 200)
    assert 32 <= done.kept < 200
    assert killed.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("in.csv", "a,b\n1,2\n", DataRefusedError, r"no column 'text'.*several others \('a', 'b'\); rename"),
        ("in.csv", "", DataRefusedError, "the file is empty"),
        ("in.xlsx", "x", SettingsError, r"ends in '\.xlsx', expected one of \.csv, \.jsonl"),
        ("none.csv", None, DataRefusedError, "no such table or folder"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(
    tmp_path: Path, name: str, content: str | None, error: type[Exception], said: str
) -> None:
    if content is not None:
        table(tmp_path / name, content)
    with pytest.raises(error, match=said):
        refused(tmp_path / name, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_what_would_be_overwritten_or_read_again_is_refused(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "text\nhello\n")
    with pytest.raises(SettingsError, match="is the table that is read"):
        refused(source, source)
    with pytest.raises(SettingsError, match=r"ends in '\.txt', expected one of \.csv"):
        refused(source, tmp_path / "out.txt")
    with pytest.raises(DataRefusedError, match="is a folder, but the model reads texts"):
        refused(tmp_path, tmp_path / "out.csv")
    with pytest.raises(SettingsError, match="lies in the folder that is read"):
        refused(tmp_path, tmp_path / "out.csv", "image")


def test_openvino_is_for_texts_and_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="--runtime openvino: tiny reads image files, expected a model for texts"):
        require_openvino("tiny", "image")
    monkeypatch.setattr("graftline.tasks.serving.answering.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="OpenVINO is not installed; run pip install"):
        require_openvino("tiny", "text")


@pytest.mark.long
def test_a_runtime_that_cannot_run_the_model_is_refused_in_the_words_of_the_command(
    adapted: Line, tmp_path: Path
) -> None:
    with model_folder(adapted.workspace, f"models:/{MODEL}/1") as registered:
        shutil.copytree(registered, tmp_path / "model")
    (code,) = (tmp_path / "model").rglob("openvino_runtime.py")
    text = code.read_text()
    # No rounding is as small as that.
    code.write_text(
        text.replace('TOLERANCE: Mapping[Precision, float] = {"float32": 1e-4', 'TOLERANCE = {"float32": -1')
    )
    assert code.read_text() != text
    model = open_registered(
        "tiny version 1", tmp_path / "model", adapted.checkpoint.weights_sha256, runtime="openvino"
    )  # fmt: skip
    told = (
        r"^--runtime openvino: tiny version 1 cannot be asked with it \(OpenVINO's answer differs from PyTorch's by \S+"
        r" of the largest value, expected at most -1 in float32\); leave the option out$"
    )
    with answering(model, threads=1) as asked, pytest.raises(SettingsError, match=told):
        asked.ask(TEXTS)


def test_weights_that_were_changed_since_answer_nothing(adapted: Line, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with model_folder(adapted.workspace, f"models:/{MODEL}/1") as registered:
        shutil.copytree(registered, folder)
    digest = adapted.checkpoint.weights_sha256
    assert open_registered("tiny version 1", folder, digest).outputs.labels == LABELS
    flip_byte(folder / ADAPTED / "head.safetensors", -1)
    with pytest.raises(RegistryRefusedError, match=r"its weights have digest .* as registered: they were changed"):
        open_registered("tiny version 1", folder, digest)
    os.truncate(folder / ADAPTED / "head.safetensors", 20)
    with pytest.raises(RegistryRefusedError, match="its files cannot be loaded"):
        open_registered("tiny version 1", folder, digest)
    with pytest.raises(RegistryRefusedError, match="was not registered by `graftline adapt`"):
        open_registered("tiny version 1", folder, None)
