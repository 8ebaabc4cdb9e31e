"""The registered model takes raw text in every usual form, brings its own code, and holds no pickle."""

import json
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.pyfunc import PyFuncModel

from graftline.answers.predicting import predictor_of
from graftline.errors import RegistryRefusedError
from graftline.evaluation.given import label_given
from graftline.tasks.serving import fresh_process
from graftline.tasks.serving.fresh_process import AFTERWARDS, OUTCOMES, TIMED
from graftline.tasks.serving.hostile_requests import HostileRequest
from graftline.tasks.serving.trial import _read_answers, score_in_fresh_process, trial_of, try_in_fresh_process
from graftline.tasks.steps.served_parts import _signature
from graftline.tasks.tracking.server import tracking_uri
from tests.support.tiny_project import LABELS, MODEL, Line, files_of, surroundings

pytestmark = pytest.mark.usefixtures("cold")
URI = f"models:/{MODEL}/1"
TEXTS = ["a good film with some great actor", "the plot was awful and very dull", "one"]


@pytest.fixture
def model(adapted: Line) -> PyFuncModel:
    loaded: PyFuncModel = mlflow.pyfunc.load_model(URI)
    return loaded


@pytest.fixture
def files(adapted: Line) -> Path:
    return files_of(MODEL, 1)


def predict(model: PyFuncModel, form: Any) -> list[dict[str, Any]]:
    answer: Any = model.predict(form)
    rows: list[dict[str, Any]] = answer.to_dict("records")
    return rows


def expected(line: Line, texts: list[str] = TEXTS) -> list[dict[str, Any]]:
    probabilities = predictor_of(line.checkpoint.model).predict(texts)
    return [
        {"label": LABELS[row.argmax()], "probabilities": dict(zip(LABELS, row.tolist(), strict=True))}
        for row in probabilities
    ]


@pytest.mark.full
def test_whoever_loads_it_may_choose_a_faster_way(adapted: Line) -> None:
    faster: Any = mlflow.pyfunc.load_model(URI, model_config={"runtime": "openvino", "precision": "float32"})
    for answer, plain in zip(predict(faster, TEXTS), expected(adapted), strict=True):
        assert answer["label"] == plain["label"]
        assert answer["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-4)
    with pytest.raises(Exception, match="precision 'int8': there is none of that name, expected float32 or bfloat16"):
        mlflow.pyfunc.load_model(URI, model_config={"precision": "int8"})


def test_no_file_of_the_model_is_a_pickle(files: Path) -> None:
    names = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    assert {"MLmodel", "served_model.py", "requirements.txt", "artifacts/model/model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".bin", ".pt", ".pth", ".joblib"))]
    assert not [name for name in names if _is_pickle((files / name).read_bytes())]


def _is_pickle(content: bytes) -> bool:
    """Whether a loader would run the bytes to their end as a pickle."""
    try:
        return any(opcode.name == "STOP" for opcode, *_ in pickletools.genops(content))
    except (ValueError, IndexError, UnicodeDecodeError, KeyError):
        return False


def test_signature_example_and_exact_requirements_stand_beside_the_model(files: Path) -> None:
    described = mlflow.models.Model.load(str(files))
    assert described.signature.inputs is None
    assert [column["name"] for column in described.signature.outputs.to_dict()] == ["label", "probabilities"]
    assert json.loads((files / "input_example.json").read_text()) == ["An example text."]
    required = (files / "requirements.txt").read_text().splitlines()
    assert {"torch", "transformers", "mlflow"} <= {line.partition("==")[0] for line in required}
    assert all("==" in line for line in required)


@pytest.mark.full
def test_a_fresh_process_needs_nothing_of_the_project(adapted: Line, files: Path, tmp_path: Path) -> None:
    """No folder of ours is on its path, and the code that it loads is the model's own."""
    program = (
        "import json, sys, mlflow\n"
        f"model = mlflow.pyfunc.load_model({str(files)!r})\n"
        f"answers = model.predict({TEXTS!r}).to_dict('records')\n"
        "import graftline\n"
        "print(json.dumps([graftline.__file__, 'graftline.tasks' in sys.modules, answers]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env=surroundings(MLFLOW_TRACKING_URI="sqlite://"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, has_tasks, answers = json.loads(done.stdout.splitlines()[-1])
    assert Path(code).is_relative_to(files / "code")
    assert not has_tasks
    assert [row["label"] for row in answers] == [row["label"] for row in expected(adapted)]
    for answer, wanted in zip(answers, expected(adapted), strict=True):
        assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-6)


@pytest.mark.full
def test_a_fresh_process_with_as_many_threads_gives_the_same_bits(adapted: Line) -> None:
    scored = score_in_fresh_process(adapted.workspace, URI, TEXTS, threads=torch.get_num_threads())
    assert scored.labels == list(LABELS)
    np.testing.assert_array_equal(scored.predictions, predictor_of(adapted.checkpoint.model).predict(TEXTS))


@pytest.mark.full
def test_a_model_that_cannot_be_loaded_is_refused_with_what_the_process_said(adapted: Line) -> None:
    with pytest.raises(RegistryRefusedError, match=r"models:/tiny/99: the registered model does not answer .*99"):
        score_in_fresh_process(adapted.workspace, "models:/tiny/99", TEXTS, threads=1)
    assert tracking_uri(adapted.workspace).startswith("sqlite:///")


def test_answers_are_written_and_read_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_process, "ROWS_AT_ONCE", 2)
    path, shares = tmp_path / "answers.jsonl", [0.75, 0.5, 0.1, 1 / 3, 0.0]
    answered = {
        "label": ["bad", "good", "bad", "good", "bad"],
        "probabilities": [{"bad": 1 - share, "good": share} for share in shares],
    }
    fresh_process._write_answers(path, pd.DataFrame(answered))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert [len(json.loads(line)) for line in path.read_text().splitlines()] == [2, 2, 1]
    scored = _read_answers(URI, path)
    assert (scored.task, scored.labels) == ("single_label", ["bad", "good"])
    assert scored.predictions[:, 1].tolist() == shares
    # Not the likeliest ones: those that were given.
    assert label_given(scored.predictions).tolist() == [0, 1, 0, 1, 0]


def test_a_model_that_changes_its_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    lines = [[{"label": label, "probabilities": {label: 1.0}}] for label in ("good", "bad")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RegistryRefusedError, match="its answers have other labels for some inputs than for others"):
        _read_answers(URI, path)


def test_a_hostile_request_that_ends_the_process_is_told_from_those_before_and_after_it(tmp_path: Path) -> None:
    asked = ["null", "a huge text", "true"]
    hostile = [HostileRequest(name, b"") for name in asked]
    (tmp_path / TIMED).write_text(json.dumps({"milliseconds": [3.0, 1.0, 2.0], "peak_memory_bytes": 5_000_000}))
    (tmp_path / OUTCOMES).write_text(json.dumps({"name": "null", "status": 400, "fine": True}) + "\n")
    trial = trial_of(tmp_path, hostile)
    assert (trial.requests, trial.median_milliseconds, trial.memory_megabytes) == (3, 2.0, 5.0)
    ended = "no answer, the process had ended"
    assert [trial.hostile[name] for name in asked] == ["refused", ended, ended]
    assert trial.hostile[AFTERWARDS] == "not answered as before"


@pytest.mark.parametrize(
    ("status", "fine", "may_be_answered", "became"),
    [(200, True, True, "answered"), (200, True, False, "answered, expected an error"),
     (200, False, True, "answered with what is no number"), (500, True, False, "refused"),
     (504, True, False, "no answer in time")],
)  # fmt: skip
def test_what_became_of_a_request(tmp_path: Path, status: int, fine: bool, may_be_answered: bool, became: str) -> None:
    (tmp_path / TIMED).write_text(json.dumps({"milliseconds": [1.0], "peak_memory_bytes": None}))
    (tmp_path / OUTCOMES).write_text(json.dumps({"name": "odd", "status": status, "fine": fine}))
    trial = trial_of(tmp_path, [HostileRequest("odd", b"", may_be_answered=may_be_answered)])
    assert trial.hostile["odd"] == became
    assert "memory_megabytes" not in trial.limited


def test_a_text_longer_than_any_row_is_refused(model: PyFuncModel) -> None:
    with pytest.raises(ValueError, match="input 1 has 1,000,001 characters, expected at most 1,000,000; shorten it"):
        predict(model, ["a good film", "a" * 1_000_001])


@pytest.mark.full
def test_a_model_that_a_hostile_request_ends_has_answered_before_and_is_told_from_one_that_lives(
    adapted: Line, tmp_path: Path
) -> None:
    program = (
        "import os\nimport pandas as pd\nfrom mlflow.models import set_model\n"
        "from mlflow.pyfunc.model import PythonModel\n\n\n"
        "class Fragile(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        values = list(model_input)\n"
        "        if 7 in values:\n            os._exit(3)\n"
        "        if not values:\n            raise ValueError('no rows')\n"
        "        return pd.DataFrame({'value': [float(len(str(value))) for value in values]})\n\n\n"
        "set_model(Fragile())\n"
    )
    (tmp_path / "fragile.py").write_text(program)
    mlflow.pyfunc.save_model(
        tmp_path / "model", python_model=str(tmp_path / "fragile.py"), signature=_signature({None: "regression"}),
        pip_requirements=["mlflow"],
    )  # fmt: skip
    scored, trial = try_in_fresh_process(adapted.workspace, str(tmp_path / "model"), ["a", "bcd"], threads=1)
    assert scored.predictions.tolist() == [[1.0], [3.0]]
    assert trial.hostile["half of a JSON text"] == "refused"
    assert trial.hostile["a number"] == trial.hostile["a huge text"] == "no answer, the process had ended"
    assert trial.hostile[AFTERWARDS] == "not answered as before"
