"""MLflow's lists and pages say what a run came to, keep what a person wrote there, and warn of its own buttons."""

import json

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset

from graftline.settings import read_settings
from graftline.tasks.registry.versions import RUN_KEY
from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
from graftline.tasks.tracking.pages import (
    CUT,
    DESCRIPTION_CHARACTERS,
    NOTE,
    OURS,
    VERDICT,
    VIEW,
    as_description,
    describe_model,
    describe_version,
    note_experiment,
    retitle_run,
    title_run,
)
from graftline.tasks.tracking.server import FIRST_EXPERIMENT, experiment_of
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy, read_policy
from tests.support.registered import register
from tests.support.tiny_project import MODEL, Line


def name_of(run_id: str) -> str:
    return str(MlflowClient().get_run(run_id).info.run_name)


def data_of(run_id: str) -> list[Dataset]:
    inputs = MlflowClient().get_run(run_id).inputs
    return [one.dataset for one in inputs.dataset_inputs] if inputs else []


def test_a_run_is_called_by_version_verdict_and_score_also_after_a_person_decided(workspace: Workspace) -> None:
    run = MlflowClient().create_run(experiment_of(workspace, MODEL)).info.run_id
    retitle_run(run, "PROMOTE")
    assert "PROMOTE" not in name_of(run), "there is nothing to change before there is a title"
    title_run(run, version=3, verdict="HOLD", score=0.84249)
    assert name_of(run) == "v3 HOLD 0.842"
    retitle_run(run, "PROMOTE")
    assert name_of(run) == "v3 PROMOTE 0.842"
    assert MlflowClient().get_run(run).data.tags[VERDICT] == "PROMOTE"
    retitle_run("0" * 32, "PROMOTE")  # a version's run may be gone


def test_the_run_of_a_project_lies_in_its_models_experiment_under_its_verdict(adapted: Line) -> None:
    client = MlflowClient()
    run = client.get_run(adapted.run.run_id)
    accuracy = adapted.evaluation.scores["accuracy"]["value"]
    assert client.get_experiment(run.info.experiment_id).name == MODEL
    assert run.info.run_name == f"v1 PROMOTE {accuracy:.3f}"
    assert run.data.tags["mlflow.user"]
    assert run.data.tags["mlflow.source.name"] == "graftline adapt"
    assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["graftline.git_commit"]
    note = run.data.tags[NOTE]
    for part in (
        "artifacts/report.html",
        f"#/models/{MODEL}/versions/1",
        "the first model, and it reaches every floor",
    ):
        assert part in note


def test_the_data_are_named_by_their_version_and_link_to_the_validation_page(adapted: Line) -> None:
    (data,) = data_of(adapted.run.run_id)
    assert (data.name, data.digest) == (adapted.settings.data.path, adapted.data.data.version)
    assert json.loads(str(data.profile))["num_rows"] == adapted.data.accepted
    assert f"{adapted.run.run_id}/artifacts/validation.html" in json.loads(data.source)["url"]
    assert str(adapted.workspace.root) not in data.source


def test_a_run_that_is_gone_on_with_names_its_data_and_its_note_once(adapted: Line) -> None:
    settings = read_settings(adapted.workspace.root / "params.yaml", ["evaluation.seed=21"])
    inputs = RunInputs(settings, Policy(), adapted.data, adapted.base, note="what does *luck* do?")
    with pytest.raises(KeyboardInterrupt), tracked_run(adapted.workspace, inputs):
        raise KeyboardInterrupt
    with tracked_run(adapted.workspace, inputs) as run:
        begun = MlflowClient().get_run(run.run_id)
    assert len(data_of(run.run_id)) == 1
    assert begun.data.tags[NOTE] == r"what does \*luck\* do?"


def test_a_run_in_the_experiment_of_earlier_releases_is_found_again(adapted: Line) -> None:
    client = MlflowClient()
    settings = read_settings(adapted.workspace.root / "params.yaml", ["evaluation.seed=22"])
    inputs = RunInputs(settings, read_policy(adapted.workspace.policy), adapted.data, adapted.base)
    first = client.create_experiment(FIRST_EXPERIMENT)
    earlier = client.create_run(first, tags={RUN_KEY: inputs.key}).info.run_id
    client.set_terminated(earlier)
    with tracked_run(adapted.workspace, inputs) as run:
        assert (run.run_id, run.finished) == (earlier, True)


def test_an_experiment_tells_its_runs_and_shows_them_best_first(workspace: Workspace) -> None:
    experiment = experiment_of(workspace, MODEL)
    note_experiment(experiment, model=MODEL, score="accuracy")
    tags = MlflowClient().get_experiment(experiment).tags
    assert OURS in tags[NOTE]
    assert json.loads(tags[VIEW])["orderByKey"] == "metrics.`test/accuracy`"


def test_what_a_person_wrote_on_a_page_stays(workspace: Workspace) -> None:
    register(workspace)
    client, experiment = MlflowClient(), experiment_of(workspace, MODEL)
    describe_model(MODEL, "Takes a text.")
    assert "go round the gate" in str(client.get_registered_model(MODEL).description)
    describe_model(MODEL, "Takes an image.")
    assert "Takes an image." in str(client.get_registered_model(MODEL).description), "what is ours is kept up to date"
    client.update_registered_model(MODEL, "ours")
    client.set_experiment_tag(experiment, NOTE, "ours")
    describe_model(MODEL, "Takes a text.")
    note_experiment(experiment, model=MODEL, score="accuracy")
    assert client.get_registered_model(MODEL).description == "ours"
    assert client.get_experiment(experiment).tags[NOTE] == "ours"


def test_a_long_card_is_cut_at_a_line_so_that_postgres_takes_it(workspace: Workspace) -> None:
    """Its column holds 5000 characters; sqlite, which this test has, takes any, so that no error would tell."""
    register(workspace, None)
    card = "# tiny, version 1\n\n## Scores\n" + "".join(f"line {number} {'x' * 90}\n" for number in range(80))
    describe_version(MODEL, 1, card)
    kept = str(MlflowClient().get_model_version(MODEL, "1").description)
    assert len(kept) <= DESCRIPTION_CHARACTERS == 5000
    assert kept.endswith("x" * 90 + CUT)
    assert as_description("short", "!") == "short!"
    assert as_description(card, "\n\nan answer").endswith(CUT + "\n\nan answer")
    assert len(as_description(card, "y" * 2000)) <= DESCRIPTION_CHARACTERS
