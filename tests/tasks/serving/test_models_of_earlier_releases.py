"""A model that an earlier release registered loads, is served and is compared with as champion, by its own code."""

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import graftline
from graftline.tasks.registry.history import history_folder, read_history
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import WEIGHTS
from graftline.tasks.serving.answering import open_registered
from graftline.tasks.serving.trial import Scored, try_in_fresh_process
from graftline.tasks.steps.champion import Champion
from graftline.tasks.tracking.server import connect, tracking_uri
from graftline.tasks.workspace import Workspace
from tests.support.served import served
from tests.support.tiny_project import (
    LABELS,
    MODEL,
    connected,
    files_of,
    forget_servers,
    run_line,
    surroundings,
    write_project,
)

KEPT = Path(__file__).parents[2] / "kept" / "release_0.1.0"
URI = f"models:/{MODEL}/1"
EXPECTED: list[dict[str, Any]] = json.loads((KEPT / "expected.json").read_text(encoding="utf-8"))
INPUTS = [row["input"] for row in EXPECTED]
REGISTERED: dict[str, Any] = json.loads((KEPT / "registered.json").read_text(encoding="utf-8"))
# Another processor or another number of threads rounds otherwise. Labels stay: no probability here is near one half.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Workspace]:
    """A tiny project in which the earlier release registered the kept model and made it champion."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = connected(write_project(tmp_path_factory.mktemp("earlier") / "project"), empty_store, patch)
        register_kept(workspace)
        yield workspace


@pytest.fixture
def earlier(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    forget_servers(monkeypatch)
    connect(project)
    return project


def register_kept(workspace: Workspace) -> None:
    """A copy: whoever loads a version writes beside its files."""
    files = shutil.copytree(KEPT / "model", workspace.root / "mlflow" / "artifacts" / "earlier")
    shutil.copytree(KEPT / "history", history_folder(workspace, MODEL))
    client = MlflowClient()
    client.create_registered_model(MODEL, REGISTERED["model_tags"])
    made = client.create_model_version(MODEL, str(files), REGISTERED["run_id"], REGISTERED["version_tags"])
    for alias in REGISTERED["aliases"]:
        client.set_registered_model_alias(MODEL, alias, made.version)


def check(answers: list[dict[str, Any]]) -> None:
    """The answers are those that the earlier release gave."""
    assert [row["label"] for row in answers] == [row["label"] for row in EXPECTED]
    for row, expected in zip(answers, EXPECTED, strict=True):
        assert row["probabilities"] == pytest.approx(expected["probabilities"], abs=TOLERANCE)


def check_scored(scored: Scored) -> None:
    assert (scored.task, scored.labels) == ("single_label", list(LABELS))
    check(
        [
            {"label": LABELS[row.argmax()], "probabilities": dict(zip(LABELS, row.tolist(), strict=True))}
            for row in scored.predictions
        ]
    )


def answers_of_a_process(workspace: Workspace, *, imported: str) -> tuple[Path, list[dict[str, Any]]]:
    """What the model answers to whoever loads it after importing something, and whose library did it."""
    program = (
        f"import {imported}\n"
        "import json, sys, mlflow\n"
        "answers = mlflow.pyfunc.load_model(sys.argv[1]).predict(json.loads(sys.argv[2])).to_dict('records')\n"
        "import graftline\n"
        "print(json.dumps([graftline.__file__, answers]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, URI, json.dumps(INPUTS)], cwd=workspace.root,
        env=surroundings(MLFLOW_TRACKING_URI=tracking_uri(workspace)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    library, answers = json.loads(done.stdout.splitlines()[-1])
    return Path(library), answers


@pytest.mark.long
def test_whoever_loads_it_gets_the_library_that_it_brings(earlier: Workspace) -> None:
    library, answers = answers_of_a_process(earlier, imported="json")
    assert library == files_of(MODEL, 1) / "code" / "graftline" / "__init__.py"
    check(answers)


@pytest.mark.long
def test_whoever_has_imported_this_release_can_load_it(earlier: Workspace) -> None:
    """MLflow imports anew only what the process has not imported: there, this release answers for the earlier one."""
    library, answers = answers_of_a_process(earlier, imported="graftline.models.predictor")
    assert library == Path(graftline.__file__)
    check(answers)


@pytest.mark.full
@pytest.mark.usefixtures("cold")
def test_it_answers_in_a_fresh_process_as_it_did_and_stands_its_trial_as_a_server(
    earlier: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    scored, trial = try_in_fresh_process(earlier, URI, INPUTS, threads=1)
    check_scored(scored)
    misread = {name for name, became in trial.hostile.items() if became not in ("refused", "answered")}
    assert misread == {"ragged lists", "two cells in a row", "several columns", "many rows"}
    assert {trial.hostile[name] for name in misread} == {"answered, expected an error"}
    assert f"{MODEL}/1 was registered by an earlier release: of a table with several columns it answers" in caplog.text


def test_whoever_predicts_with_it_is_told_what_it_would_misread(
    earlier: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    folder, digest = earlier.root / "mlflow" / "artifacts" / "earlier", REGISTERED["version_tags"][WEIGHTS]
    assert open_registered("tiny version 1", folder, digest).outputs.labels == LABELS
    assert "tiny version 1 was registered by an earlier release" in caplog.text


@pytest.mark.full
def test_the_served_model_answers_a_request(earlier: Workspace) -> None:
    with served(URI, earlier.root / "served.log", MLFLOW_TRACKING_URI=tracking_uri(earlier)) as address:
        body = json.dumps({"inputs": INPUTS}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            check(json.load(answer)["predictions"])


@pytest.mark.full
def test_a_new_candidate_is_judged_against_it_as_champion(earlier: Workspace) -> None:
    line = run_line(earlier.root, ["adaptation.seed=1"])
    assert line.champion == Champion(MODEL, 1)
    assert line.evaluation.obstacle is None
    assert line.evaluation.comparison is not None
    # It learned from rows like these.
    assert line.evaluation.comparison.scores["accuracy"].value > 0.75
    assert [record.version for record in read_history(earlier, MODEL)] == [1, line.candidate.version]
    assert verify(earlier, MODEL).findings == ()
