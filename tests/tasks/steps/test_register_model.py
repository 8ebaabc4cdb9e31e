"""A registered version answers as the training process did, or it is not called challenger."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from graftline.errors import GraftlineError
from graftline.settings import read_settings
from graftline.tasks.registry.binding import bound_tags
from graftline.tasks.registry.promotion import record_verdict
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import BARRED, CHALLENGER, CHAMPION, CHECKED, RIVAL, RUN_KEY, VERDICT
from graftline.tasks.serving.trial import Scored, Trial
from graftline.tasks.steps import register_model as step
from graftline.tasks.steps.decide import decide
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.question import question_of
from graftline.tasks.steps.register_model import champion_to_beat, register_model
from graftline.tasks.steps.served_parts import requirements
from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
from graftline.tasks.tracking.server import TrackedRun
from graftline.verdict.policy import Policy
from tests.support.tiny_project import LABELS, MODEL, Line, files_of

TRIAL = Trial(100, 5.0, 9.5, 700.0, {"null": "refused"})


@contextmanager
def another_model(line: Line, name: str) -> Iterator[tuple[Line, TrackedRun]]:
    """The same checkpoint under the name of a model of its own."""
    settings = read_settings(line.workspace.root / "params.yaml", [f"registry.model={name}"])
    with tracked_run(line.workspace, RunInputs(settings, Policy(), line.data, line.base)) as run:
        yield dataclasses.replace(line, settings=settings), run


def register(line: Line, run: TrackedRun) -> step.Candidate:
    return register_model.fn(
        line.workspace, line.settings.registry.model, run, line.data, line.checkpoint, line.evaluation
    )


def answers(evaluation: Evaluation, patch: pytest.MonkeyPatch, *, change: float = 0.0) -> list[str]:
    """Let the fresh process answer as evaluated, the first probability changed. Returns: what was asked, so far."""
    asked: list[str] = []
    table = parquet.read_table(evaluation.folder.path / "predictions.parquet")
    values = np.stack([table[f"probability.{label}"].to_numpy() for label in LABELS], axis=1)
    values[0, 0] += change

    def score(_: object, uri: str, texts: list[str], *, threads: int, files: object) -> tuple[Scored, Trial]:
        asked.append(uri)
        assert len(texts) == len(values)
        return Scored("single_label", list(LABELS), values), TRIAL

    patch.setattr(step, "try_in_fresh_process", score)
    return asked


def aliases(model: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in MlflowClient().get_registered_model(model).aliases.items()}


def version_of(model: str, version: int = 1) -> ModelVersion:
    return MlflowClient().get_model_version(model, str(version))


def test_the_version_carries_what_promotion_looks_at(adapted: Line) -> None:
    version = version_of(MODEL)
    expected = {RUN_KEY: adapted.run.run_key, CHECKED: "equal", RIVAL: "none",
                "graftline.weights_sha256": adapted.checkpoint.weights_sha256,
                "graftline.predictions_sha256": adapted.evaluation.predictions_sha256,
                "graftline.split_sha256": adapted.data.split_sha256,
                "graftline.test_sha256": adapted.data.test_sha256,
                "graftline.data_version": adapted.data.data.version}  # fmt: skip
    assert expected.items() <= version.tags.items()
    assert BARRED not in version.tags
    assert version.run_id == adapted.run.run_id


def test_a_checked_version_is_challenger_and_the_promoted_one_champion(adapted: Line) -> None:
    assert aliases(MODEL) == {CHALLENGER: 1, CHAMPION: 1}


def test_the_version_carries_how_it_does_as_a_server(adapted: Line) -> None:
    trial = adapted.candidate.trial
    assert trial is not None
    assert Trial(**json.loads(version_of(MODEL).tags["graftline.serving"])) == trial
    assert 0 < trial.median_milliseconds <= trial.p95_milliseconds
    # Where there is no /proc, the system does not tell.
    assert trial.memory_megabytes is None or 50 < trial.memory_megabytes < 4000
    faults = {name: became for name, became in trial.hostile.items() if became not in ("refused", "answered")}
    assert faults == {}
    assert trial.hostile["a huge text"] == trial.hostile["not a number"] == "refused"
    assert trial.hostile["an ordinary request afterwards"] == "answered"


def test_a_run_key_is_registered_once(adapted: Line) -> None:
    again = register(adapted, adapted.run)
    assert again == dataclasses.replace(adapted.candidate, outcome="reused")
    assert len(MlflowClient().search_model_versions(f"name = '{MODEL}'")) == 1


def test_the_requirements_are_exact_and_no_build_of_this_machine() -> None:
    for requirement in requirements("text"):
        name, _, version = requirement.partition("==")
        assert name
        assert version
        assert "+" not in version


def test_a_version_that_answers_in_the_last_bit_otherwise_is_not_called_challenger(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(adapted.evaluation, monkeypatch, change=1e-16)
    with another_model(adapted, "other-answers") as (line, run), pytest.raises(GraftlineError) as caught:
        register(line, run)
    assert "models:/other-answers/1: its predictions in a fresh process have digest" in str(caught.value)
    assert "it was not made challenger" in str(caught.value)
    assert aliases("other-answers") == {}


def test_a_registration_killed_before_the_check_is_gone_on_with_and_checked(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with another_model(adapted, "killed") as (line, run):
        with monkeypatch.context() as patch:
            patch.setattr(step, "_check_answers", kill)
            with pytest.raises(KeyboardInterrupt):
                register(line, run)
        assert aliases("killed") == {}
        # Nothing of its results is written: a kill here must leave no run that says it is finished.
        assert MlflowClient().get_run(run.run_id).info.status == "RUNNING"
        asked = answers(adapted.evaluation, monkeypatch)
        assert register(line, run) == step.Candidate("killed", 1, run.run_id, "ran", TRIAL)
    assert asked == ["models:/killed/1"]
    assert aliases("killed") == {CHALLENGER: 1}


def test_where_another_process_registered_the_run_meanwhile_there_is_one_version(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a pause of ten minutes, in which another machine took over the lock."""
    log = mlflow.pyfunc.log_model

    def register_as_another(*arguments: object, **named: object) -> object:
        logged = log(*arguments, **named)
        client = MlflowClient()
        client.create_registered_model("paused")
        client.create_model_version("paused", logged.model_uri, run.run_id, tags={RUN_KEY: run.run_key})
        return logged

    answers(adapted.evaluation, monkeypatch)
    monkeypatch.setattr(mlflow.pyfunc, "log_model", register_as_another)
    with another_model(adapted, "paused") as (line, run):
        assert register(line, run).version == 1
    assert len(MlflowClient().search_model_versions("name = 'paused'")) == 1


def test_what_another_process_judged_meanwhile_stays_as_it_was_judged(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(adapted.evaluation, monkeypatch)
    check = step._check_answers

    def check_slowly(*arguments: object, **named: object) -> object:
        found = check(*arguments, **named)  # type: ignore[arg-type]
        MlflowClient().set_model_version_tag("judged", "1", "graftline.serving", json.dumps(dataclasses.asdict(TRIAL)))
        record_verdict(
            adapted.workspace, "judged", version=1, verdict="REJECT", reasons=("a test",), rival=None,
            evaluation_sha256="e", policy_sha256="p", files=found[1],
            bind=lambda *_: bound_tags(version_of("judged").tags),
        )  # fmt: skip
        return found

    monkeypatch.setattr(step, "_check_answers", check_slowly)
    with another_model(adapted, "judged") as (line, run):
        assert register(line, run) == step.Candidate("judged", 1, run.run_id, "reused", TRIAL)
    assert aliases("judged") == {}
    assert verify(adapted.workspace, "judged").findings == ()


def test_a_version_from_modified_data_is_barred_by_the_names_of_the_files(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(adapted.evaluation, monkeypatch)
    modified = dataclasses.replace(adapted.data.data, modified=True, differing=("rows.csv (modified)",))
    data = dataclasses.replace(adapted.data, data=modified)
    with another_model(dataclasses.replace(adapted, data=data), "modified") as (line, run):
        register(line, run)
    assert version_of("modified").tags[BARRED].endswith("that data.dvc names (rows.csv (modified))")


def test_a_candidate_that_was_judged_is_compared_with_its_champion_of_then(adapted: Line) -> None:
    assert champion_to_beat.fn(adapted.workspace, MODEL, adapted.run) is None


def test_a_new_candidate_is_compared_with_the_present_champion(adapted: Line) -> None:
    another = dataclasses.replace(adapted.run, run_key="a key of its own")
    champion = champion_to_beat.fn(adapted.workspace, MODEL, another)
    assert champion is not None
    assert champion.uri == f"models:/{MODEL}/1"


def test_an_equal_model_of_another_run_is_the_version_that_is_there(adapted: Line) -> None:
    settings = read_settings(adapted.workspace.root / "params.yaml", ["adaptation.lora_rank=2"])  # of another strategy
    inputs = dataclasses.replace(adapted.inputs, settings=settings)
    question = question_of(inputs, adapted.checkpoint)
    with tracked_run(adapted.workspace, inputs) as run:
        assert run.run_key != adapted.run.run_key
        champion = champion_to_beat.fn(adapted.workspace, MODEL, run, question)
        assert champion == adapted.champion
        candidate = register_model.fn(
            adapted.workspace, MODEL, run, adapted.data, adapted.checkpoint, adapted.evaluation, question
        )
    decision = decide.fn(adapted.workspace, inputs.policy, candidate, adapted.evaluation)
    assert candidate == dataclasses.replace(adapted.candidate, outcome="reused")
    assert (decision.verdict, decision.outcome) == (adapted.decision.verdict, "reused")
    assert len(MlflowClient().search_model_versions(f"name = '{MODEL}'")) == 1


@pytest.mark.parametrize(
    "assignment", ["evaluation.bootstrap=101", "data.slices=[]", "registry.model=other", "data.test_share=0.2"]
)
def test_where_something_else_is_asked_an_equal_model_is_another_version(adapted: Line, assignment: str) -> None:
    settings = read_settings(adapted.workspace.root / "params.yaml", [assignment])
    asked = question_of(adapted.inputs, adapted.checkpoint)
    assert question_of(dataclasses.replace(adapted.inputs, settings=settings), adapted.checkpoint) != asked
    policy = Policy(significance=0.04)
    assert question_of(dataclasses.replace(adapted.inputs, policy=policy), adapted.checkpoint) != asked
    other = dataclasses.replace(adapted.checkpoint, weights_sha256="0" * 64)
    assert question_of(adapted.inputs, other) != asked


@pytest.mark.full
def test_a_version_whose_files_were_tampered_with_is_not_called_challenger(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = step._register

    def tampered(*arguments: object) -> ModelVersion:
        version = logged(*arguments)  # type: ignore[arg-type]
        folder = files_of("tampered", int(version.version))
        weights = folder / "artifacts" / "model" / "head.safetensors"
        save_file({name: -tensor for name, tensor in load_file(weights).items()}, weights)
        return version

    monkeypatch.setattr(step, "_register", tampered)
    with another_model(adapted, "tampered") as (line, run), pytest.raises(GraftlineError, match="not made challenger"):
        register(line, run)
    assert aliases("tampered") == {}


def test_a_verdict_that_somebody_wrote_on_a_version_spares_it_no_trial(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(adapted.evaluation, monkeypatch)
    with another_model(adapted, "unjudged") as (line, run):
        register(line, run)
        MlflowClient().set_model_version_tag("unjudged", "1", VERDICT, "PROMOTE")
        again = register(line, run)
    assert (again.outcome, len(asked)) == ("ran", 2)
    assert again.files
