"""A version as a graph of ONNX: judged on the held-out rows before it is registered, and then like any version."""

import json
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from graftline.answers.predicting import predictor_of
from graftline.flows.cli import app
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.versions import champion_of, get_version, versions_of
from graftline.tasks.steps.export_version import VARIANT_OF
from graftline.tasks.tracking.server import client, connect
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import MODEL, Line, connected, files_of, forget_servers, run_line, write_project

pytestmark = pytest.mark.full
TEXTS = ["a good film with some great actor", "the plot was awful and very dull", "fine"]
VARIANT = f"{MODEL}-onnx"


@pytest.fixture(scope="module")
def line_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Any) -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("exported") / "project")
        connected(root, empty_store, patch)
        yield run_line(root)


@pytest.fixture
def line(line_once: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    forget_servers(monkeypatch)
    connect(line_once.workspace)
    monkeypatch.chdir(line_once.workspace.root)
    return line_once


def export(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["export", *arguments, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout.splitlines()[-1]) if code == 0 else {"error": done.output}


def test_a_variant_that_answers_alike_is_registered_judged_and_loaded_like_any_version(line: Line) -> None:
    result = export("champion", "--least-faster", "0")
    assert (result["model"], result["version"], result["obstacles"]) == (VARIANT, 1, [])
    assert (result["parity"]["equal"], result["parity"]["rows"]) == (1.0, line.evaluation.held_out.rows)
    assert result["parity"]["differences"]["label"]["value"] == 0.0
    assert (champion_of(VARIANT), champion_of(MODEL)) == (1, 1)
    (record,) = read_history(line.workspace, VARIANT)
    assert (record.verdict, record.why) == ("PROMOTE", record.reasons[0])
    assert "100.00% of" in record.why
    assert "artifacts/model/model.onnx" in (record.files or {})
    assert get_version(VARIANT, 1).tags[VARIANT_OF] == f"{MODEL}/1"
    answers: Any = mlflow.pyfunc.load_model(f"models:/{VARIANT}/1").predict(TEXTS)
    expected = predictor_of(line.checkpoint.model).predict(TEXTS)
    assert [list(one.values()) for one in answers["probabilities"]] == pytest.approx(expected, abs=1e-5)

    again = export("1", "--least-faster", "0")
    assert (again["version"], again["parity"]) == (1, None)
    assert again["summary"].endswith("nothing was done")
    client().delete_registered_model_alias(VARIANT, "champion")
    assert f"graftline promote {VARIANT} --version 1" in export("1", "--least-faster", "0")["summary"]
    promoted = CliRunner().invoke(app, ["promote", VARIANT, "--version", "1"])
    assert (promoted.exit_code, champion_of(VARIANT)) == (0, 1), promoted.output

    assert f"{VARIANT} version 1 is a variant itself, of {MODEL}/1" in export(f"{VARIANT}/1", code=6)["error"]

    flip_byte(files_of(VARIANT, 1) / "artifacts" / "model" / "model.onnx")
    assert "model.onnx" in export("1", "--least-faster", "0", code=6)["error"]


def test_one_that_does_not_stand_the_gate_is_not_registered(line: Line) -> None:
    result = export("1", "--int8", "--least-faster", "1000", "--least-equal", "1")
    assert result["version"] is None
    assert "expected 1000.00 or more" in result["obstacles"][-1]
    assert result["summary"].startswith("not registered: ")
    assert versions_of(f"{MODEL}-onnx-int8") == {}


def test_a_version_that_was_never_champion_has_no_variant_that_is_one(line: Line) -> None:
    held = run_line(line.workspace.root, ["adaptation.strategy=feature_extraction"])
    assert held.decision.verdict != "PROMOTE"
    assert f"tiny version 2 was never champion, and its variant would be one under {VARIANT}" in (
        export("2", code=6)["error"].replace("\n", " ")
    )
    assert "tiny" in export("7", code=6)["error"]
