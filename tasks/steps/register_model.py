"""Step 5, register_model: a version in MLflow that takes raw inputs, proven to answer as the training process did."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from filelock import FileLock

from graftline.answers.tasks import TASKS
from graftline.errors import GraftlineError
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, questions, read_split
from graftline.tasks.registry.binding import GROUPS, PREDICTIONS_SHA256, SERVING, SPLIT_SHA256, TEST_SHA256
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.looks import choice_of
from graftline.tasks.registry.manifest import require_as_judged
from graftline.tasks.registry.promotion import repair
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import (
    BARRED,
    CHALLENGER,
    CHECKED,
    DATA_VERSION,
    PRETRAINED,
    QUESTION,
    RIVAL,
    RUN_KEY,
    WEIGHTS,
    champion_of,
    find_equal,
    find_version,
    get_version,
    judged_run,
    make_model,
    verdict_of,
)
from graftline.tasks.serving.trial import Scored, Trial, try_in_fresh_process
from graftline.tasks.state.folders import RUNS, alone_everywhere
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.held_out import predictions_sha256
from graftline.tasks.steps.registering import remove_leftovers, temporary_files_of
from graftline.tasks.steps.served_parts import as_logged, served_parts
from graftline.tasks.tracking.model_files import digests_of
from graftline.tasks.tracking.server import TrackedRun, client, model_folder, patiently_asked
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NO_RIVAL = "none"

logger = logging.getLogger("graftline.register_model")


@dataclass(frozen=True)
class Candidate:
    """A registered version that is to be judged."""

    model: str
    version: int
    run_id: str
    outcome: Outcome
    trial: Trial | None = None
    """How it does as a server; none of a version that was judged before this was measured."""
    files: Mapping[str, str] | None = field(default=None, compare=False)
    """SHA-256 of every file of it, by which it answered as evaluated; None of a version that was judged already."""


@step("champion_to_beat")
def champion_to_beat(workspace: Workspace, model: str, run: TrackedRun, question: str | None = None) -> Champion | None:
    """The present champion; for a candidate that was judged already, the one it was judged against.

    Raises: RegistryRefusedError if the champion's files are not those that were judged.
    """
    version = _registered(model, run, question)
    records = repair(workspace, model)
    if version is not None and verdict_of(records, version):
        rival = version.tags[RIVAL]
        if (champion := champion_of(model)) is not None:
            require_as_judged(workspace, model, champion)
        return None if rival == NO_RIVAL else _champion(model, int(rival), records)
    champion = champion_of(model)
    if champion is None:
        return None
    require_as_judged(workspace, model, champion)
    return _champion(model, champion, records)


def _champion(model: str, version: int, records: list[Record]) -> Champion:
    return Champion(model, version, choice_of(records, version, judged_run(get_version(model, version))))


@step("5 register_model")
def register_model(
    workspace: Workspace,
    model: str,
    run: TrackedRun,
    data: ValidatedData,
    checkpoint: Checkpoint,
    evaluation: Evaluation,
    question: str | None = None,
) -> Candidate:
    """Register the checkpoint as a version of `model`, once per run key; challenger when it answers as it should.

    Once per `question`, too, if there is one: an equal model of another run, about which nothing else was asked, is
    that version, and its verdict stands.
    Raises: GraftlineError if the registered model's predictions in a fresh process differ from the evaluated ones.
    """
    asked = f"{question or run.run_key}.asked"
    with FileLock(workspace.artifacts / "runs" / f".{asked}.lock"), alone_everywhere(RUNS, asked):
        remove_leftovers(workspace, run)
        version = patiently_asked(
            workspace,
            lambda: _registered(model, run, question) or _register(workspace, model, run, data, checkpoint, question),
        )
    run_id = version.run_id or run.run_id
    if run_id != run.run_id:
        logger.info(
            "register_model: equal to version %s: weights, preprocessing, rows and policy are the same, so there is no"
            " second version and no second verdict",
            version.version,
        )
    if (candidate := _judged(workspace, model, version, run_id)) is not None:
        return candidate
    trial, files = _check_answers(workspace, version, data, evaluation, threads=checkpoint.threads)
    # That took minutes. Where this process was paused, another one has lost patience with its lock by now.
    if (candidate := _judged(workspace, model, version, run_id)) is not None:
        return candidate
    _note(version, data, evaluation, trial)
    return Candidate(model, int(version.version), run_id, "ran", trial, files)


def _judged(workspace: Workspace, model: str, version: "ModelVersion", run_id: str) -> Candidate | None:
    """The version, if it has its verdict: nothing of it may change any more."""
    # By the record, whatever the tags say: who can write them must not spare a version its trial.
    if not verdict_of(read_history(workspace, model), version):
        return None
    require_as_judged(workspace, model, int(version.version))
    logger.info("register_model: version %s (reused)", version.version)
    measured = get_version(model, int(version.version)).tags.get(SERVING)
    trial = Trial(**json.loads(measured)) if measured else None
    return Candidate(model, int(version.version), run_id, "reused", trial)


def _registered(model: str, run: TrackedRun, question: str | None) -> "ModelVersion | None":
    return find_version(model, run.run_key) or (find_equal(model, question) if question else None)


def _register(
    workspace: Workspace,
    name: str,
    run: TrackedRun,
    data: ValidatedData,
    checkpoint: Checkpoint,
    question: str | None,
) -> "ModelVersion":
    import mlflow

    server = client()
    with _written_to(run), temporary_files_of(workspace, run) as scratch, as_logged():
        parts = served_parts(checkpoint.model, data.kind, data.task, data.further, column=data.input, scratch=scratch)
        logged = mlflow.pyfunc.log_model(name="model", **parts)
    make_model(name)
    # Storing the files takes its time, too: of two processes that do so for one run the first one makes the version.
    if (there := _registered(name, run, question)) is not None:
        return there
    tags = {RUN_KEY: run.run_key, WEIGHTS: checkpoint.weights_sha256} | ({QUESTION: question} if question else {})
    if checkpoint.pretrained:
        tags[PRETRAINED] = checkpoint.pretrained.model.digest
    version = server.create_model_version(name, logged.model_uri, run.run_id, tags=tags, model_id=logged.model_id)
    logger.info("registered %s version %s", name, version.version)
    return version


@contextmanager
def _written_to(run: TrackedRun) -> Iterator[None]:
    """Log to the run, which goes on afterwards: MLflow's own block would say that it is finished."""
    import mlflow

    mlflow.start_run(run_id=run.run_id)
    try:
        yield
    finally:
        mlflow.end_run("FINISHED" if run.finished else "RUNNING")


def _check_answers(
    workspace: Workspace, version: "ModelVersion", data: ValidatedData, evaluation: Evaluation, *, threads: int
) -> tuple[Trial, dict[str, str]]:
    """Raises: GraftlineError if it answers otherwise than it was evaluated. Returns: also the files that it is."""
    asked = questions(workspace, data.with_all_rows, "test")
    uri = f"models:/{version.name}/{version.version}"
    logger.info("asking %s for all %d held-out rows in a fresh process", uri, len(asked))
    with model_folder(workspace, uri) as folder:
        files = digests_of(f"{version.name} version {version.version}", folder)
    scored, trial = try_in_fresh_process(workspace, uri, asked, threads=threads, files=files)
    _require_as_evaluated(uri, scored, data, evaluation)
    for name, own in data.targets.items():
        answered, evaluated = scored.of_target(name), evaluation.further[name]
        _require_as_evaluated(f"{uri}, target {shown(name)}", answered or scored, own, evaluated)
    return trial, files


def _require_as_evaluated(what: str, scored: Scored, data: ValidatedData, evaluation: Evaluation) -> None:
    """`scored` are the answers for all held-out rows, also for those that lack the target."""
    row_ids = read_split(data, "test", ["row_id"])["row_id"]
    is_same = TASKS[data.task].scores.is_same
    got = predictions_sha256(row_ids, scored.predictions[places_with_target(data, "test")], is_same)
    if (scored.task, scored.labels) != (data.task, list(data.labels)) or got != evaluation.predictions_sha256:
        raise GraftlineError(
            f"{what}: its predictions in a fresh process have digest {got[:12]}, expected"
            f" {evaluation.predictions_sha256[:12]} as evaluated; it was not made challenger; please report this"
        )


def _note(version: "ModelVersion", data: ValidatedData, evaluation: Evaluation, trial: Trial) -> None:
    """Everything that `promote` looks at must stand on the version before the alias points to it."""
    server = client()
    tags = {
        CHECKED: "equal",
        RIVAL: str(evaluation.champion.version) if evaluation.champion else NO_RIVAL,
        PREDICTIONS_SHA256: evaluation.predictions_sha256,
        TEST_SHA256: data.test_sha256,
        SPLIT_SHA256: data.split_sha256,
        DATA_VERSION: data.data.version,
        SERVING: json.dumps(asdict(trial)),
    }
    if evaluation.held_out.groups is not None:
        tags[GROUPS] = str(evaluation.held_out.groups)
    if data.data.modified:
        named, differing = pointer_of(data.data.folder), ", ".join(data.data.differing)
        tags[BARRED] = f"its data differs from the version that {named} names ({differing})"
    for name, value in tags.items():
        server.set_model_version_tag(version.name, version.version, name, value)
    server.set_registered_model_alias(version.name, CHALLENGER, version.version)
