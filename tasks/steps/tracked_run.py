"""The MLflow run that belongs to a run of the line: one per run key, however often it is started."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from filelock import FileLock
from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.digests import json_sha256
from graftline.errors import ServerAwayError, Stopped
from graftline.evaluation.costs import cost_matrix
from graftline.pages.text import as_markdown
from graftline.settings import Settings
from graftline.settings.by_value import by_value
from graftline.settings.costs import cost_of
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.origins import said_of
from graftline.tasks.own_code import code_sha256
from graftline.tasks.registry.history import user
from graftline.tasks.registry.versions import RUN_KEY
from graftline.tasks.state.folders import RUNS, alone_everywhere
from graftline.tasks.steps.choose_strategy import StrategyChoice
from graftline.tasks.steps.source_task import SourceTask
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.target_rows import TargetRows
from graftline.tasks.tracking.left_runs import ORCHESTRATED_BY
from graftline.tasks.tracking.pages import COMMIT, NOTE, SOURCE, USER, artifact_address, note_experiment
from graftline.tasks.tracking.provenance import provenance, unrepeatable
from graftline.tasks.tracking.server import (
    TrackedRun,
    client,
    connect,
    experiment_of,
    experiments_with_runs_of,
    patiently_asked,
)
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy

if TYPE_CHECKING:
    from mlflow.entities import Run

PROVENANCE = "provenance.json"
SOURCE_NAME = "graftline adapt"
# The tag that says whether a run can be, and why not.
REPRODUCIBLE, NOT = "graftline.reproducible", "no: "
# The tag that says why the strategy was chosen, where the settings left it open.
CHOICE = "graftline.strategy_choice"
# MLflow takes no more.
PARAMS_PER_REQUEST = 100
# The modules that a version goes through until it is judged: other code there makes another version.
JUDGED_BY = (
    "graftline.tasks.steps.fine_tune",
    "graftline.tasks.steps.baselines",
    "graftline.tasks.steps.evaluate_model",
    "graftline.settings.words",
    "graftline.tasks.steps.register_model",
    "graftline.tasks.serving.served_model",
    "graftline.tasks.steps.decide",
)

logger = logging.getLogger("graftline.tracked_run")


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run: all else follows from them."""

    settings: Settings
    policy: Policy
    data: ValidatedData
    base: BaseModel
    source: SourceTask | None = None
    domain: TargetDomain | None = None
    target: TargetRows | None = None
    note: str = ""
    """Why a person started it; changes nothing."""
    choice: StrategyChoice | None = None
    """How the strategy of the settings came about, if they left it open; changes nothing either."""
    labels: str | None = None
    """What was found of the held-out labels, where somebody has looked; changes nothing."""
    teacher: BaseModel | None = None

    def __post_init__(self) -> None:
        """Raises: SettingsError for costs of labels that the data have not, before anything learns."""
        if self.settings.evaluation.costs:
            cost_matrix([cost_of(line) for line in self.settings.evaluation.costs], self.data.labels)

    @property
    def key(self) -> str:
        """The same for equal inputs and equal code of what they go through."""
        settings = self.settings
        parts: dict[str, JsonValue] = {
            **self.asked,
            "base_model": self.base.digest,
            "adaptation": by_value(settings.adaptation, "adaptation", without=["threads", "feature_gigabytes"]),
            "base_model_uri": settings.base_model.uri,
            **({"teacher": self.teacher.digest} if self.teacher else {}),
            "code": code_sha256(*JUDGED_BY, *TASKS[self.data.task].modules("outputs", "objective_for", "scores")),
        }
        return json_sha256(parts)[:32]

    @property
    def asked(self) -> dict[str, JsonValue]:
        """The inputs that say what a model is to show, and on which rows, whatever model it is."""
        settings = self.settings
        return {
            "data": self.data.sha256,
            "data_version": self.data.data.version,
            "data_modified": self.data.data.modified,
            "source_task": self.source.folder.key if self.source else None,
            **({"target_domain": self.domain.rows.sha256} if self.domain else {}),
            **({"target_rows": self.target.rows.sha256} if self.target else {}),
            "evaluation": by_value(settings.evaluation, "evaluation"),
            "data_settings": by_value(settings.data, "data"),
            "model": settings.registry.model,
            "policy": by_value(self.policy, "policy"),
            "threads": thread_count(settings.adaptation.threads),
        }


@contextmanager
def tracked_run(workspace: Workspace, inputs: RunInputs) -> Iterator[TrackedRun]:
    """The run that all results of the same run key belong to, however often and in how many processes it is started.

    Another policy is another run: what was judged stays judged as it was. The last write says that it is finished, so a
    run that was killed before is written to its end by the next start.
    """
    run_key = inputs.key
    locks = workspace.artifacts / "runs"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f".{run_key}.lock"), alone_everywhere(RUNS, run_key):
        connect(workspace)
        with _written_to_its_end(_find_or_create(workspace, inputs, run_key)) as run:
            yield run


@contextmanager
def reopened_run(run: TrackedRun) -> Iterator[TrackedRun]:
    """The same run, for what changes in it after it was finished, as by what a person has decided."""
    client().set_terminated(run.run_id, "RUNNING")
    with _written_to_its_end(replace(run, finished=False)) as again:
        yield again


@contextmanager
def _written_to_its_end(run: TrackedRun) -> Iterator[TrackedRun]:
    try:
        yield run
    except ServerAwayError:
        raise  # there may be nobody to tell
    except Stopped:
        _end(run, "KILLED")
        raise
    except BaseException:
        _end(run, "FAILED")
        raise
    _end(run, "FINISHED")


def log_results(run: TrackedRun, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
    """Final numbers and pages of a run."""
    if run.finished:
        return
    from mlflow.entities import Metric

    server, now = client(), int(time.time() * 1000)
    server.log_batch(run.run_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
    for file in files:
        server.log_artifact(run.run_id, str(file))


def _find_or_create(workspace: Workspace, inputs: RunInputs, run_key: str) -> TrackedRun:
    run = patiently_asked(workspace, lambda: _found(workspace, inputs, run_key) or _created(workspace, inputs, run_key))
    if run.info.status == "FINISHED":
        tags = run.data.tags
        why = unrepeatable(tags.get("graftline.git_commit"), tags.get(REPRODUCIBLE, "").removeprefix(NOT))
        return TrackedRun(run.info.run_id, run_key, finished=True, unrepeatable=why)
    if run.info.status != "RUNNING":
        client().set_terminated(run.info.run_id, "RUNNING")
    # Also for a run that an earlier start left unfinished: it may have been killed before all of this was written.
    why = _describe(workspace, inputs, run.info.run_id)
    return TrackedRun(run.info.run_id, run_key, finished=False, unrepeatable=why)


def _found(workspace: Workspace, inputs: RunInputs, run_key: str) -> "Run | None":
    experiments = experiments_with_runs_of(workspace, inputs.settings.registry.model)
    found = client().search_runs(experiments, f"tags.`{RUN_KEY}` = '{run_key}'")
    return found[0] if found else None


def _created(workspace: Workspace, inputs: RunInputs, run_key: str) -> "Run":
    settings = inputs.settings
    experiment = experiment_of(workspace, settings.registry.model)
    name = f"{settings.adaptation.strategy} {inputs.data.data.version[:6]}"
    return client().create_run(experiment, tags={RUN_KEY: run_key}, run_name=name)


def _describe(workspace: Workspace, inputs: RunInputs, run_id: str) -> str | None:
    """Write down what it takes to repeat the run, and what it starts from. Returns: why it cannot be, if it cannot."""
    from mlflow.entities import Param

    server = client()
    settings, policy, data, base, source = inputs.settings, inputs.policy, inputs.data, inputs.base, inputs.source
    made = provenance(workspace, settings, threads=thread_count(settings.adaptation.threads))
    made |= {"data_version": data.data.version, "data_modified": data.data.modified, "data_sha256": data.data.sha256}
    made |= {"data_origin": said_of(workspace, data.data.folder, data.data.version)}
    made |= {"probe_sha256": source.rows.data.sha256 if source else None}
    if domain := inputs.domain:
        made |= {"target_domain_sha256": domain.rows.data.sha256, "target_domain_rows_sha256": domain.rows.sha256}
    if target := inputs.target:
        made |= {"target_rows_sha256": target.rows.data.sha256}
    if (teacher := inputs.teacher) is not None:
        made |= {"teacher": teacher.uri, "teacher_revision": teacher.revision, "teacher_sha256": teacher.digest}
    made |= {"base_model": base.uri, "base_model_revision": base.revision, "base_model_sha256": base.digest}
    made |= {"policy": policy.model_dump(mode="json"), "policy_sha256": policy.sha256}
    made |= {"split_from": data.split_from, "split_sha256": data.split_sha256, "test_sha256": data.test_sha256}
    server.log_dict(run_id, made, PROVENANCE)
    for name in ("git_commit", "git_clean", "data_version", "data_modified", "base_model", "base_model_sha256"):
        server.set_tag(run_id, f"graftline.{name}", str(made[name]))
    if made["data_origin"]:
        server.set_tag(run_id, "graftline.data_origin", str(made["data_origin"]))
    commit = cast("str | None", made["git_commit"])
    why = unrepeatable(commit, cast("str | None", made["git_refusal"]))
    server.set_tag(run_id, REPRODUCIBLE, f"{NOT}{why}" if why else "yes")
    if made["git_refusal"]:
        logger.warning("the run cannot be reproduced: %s", why)
    if inputs.choice:
        server.set_tag(run_id, CHOICE, inputs.choice.reason)
    who = {USER: user(), SOURCE: SOURCE_NAME, COMMIT: commit, NOTE: as_markdown(inputs.note)}
    who |= {ORCHESTRATED_BY: _run_of_prefect()}
    for name, value in who.items():
        if value:
            server.set_tag(run_id, name, str(value))
    # Not metrics, for MLflow draws a chart of each, and these never change.
    rows: dict[str, JsonValue] = {"read": data.read, "accepted": data.accepted, "quarantined": data.quarantined}
    rows |= {"twins": data.twins, "split_from": data.split_from}
    given = {**settings.model_dump(mode="json"), "policy": policy.model_dump(mode="json"), "rows": rows}
    # Those that decide nothing may be others than in the start that was killed, and MLflow changes none.
    known = server.get_run(run_id).data.params
    params = [Param(name, str(value)) for name, value in _flat(given) if name not in known]
    for first in range(0, len(params), PARAMS_PER_REQUEST):
        server.log_batch(run_id, params=params[first : first + PARAMS_PER_REQUEST])
    server.log_artifact(run_id, str(data.page))
    if domain:
        server.log_artifact(run_id, str(domain.rows.page), "target_domain")
    if target:
        server.log_artifact(run_id, str(target.rows.page), "target_rows")
    _log_data(run_id, inputs)
    experiment = server.get_run(run_id).info.experiment_id
    note_experiment(experiment, model=settings.registry.model, score=TASKS[data.task].scores.scoring.primary)
    return why


def _run_of_prefect() -> str | None:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def _log_data(run_id: str, inputs: RunInputs) -> None:
    """Name the data in MLflow's own list of data sets, by their version: the rows are not read for it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    settings, data = inputs.settings.data, inputs.data
    experiment = client().get_run(run_id).info.experiment_id
    # The page links `url` where the type is http. That of the validation page tells most about these rows.
    page = artifact_address(experiment, run_id, data.page.name)
    source = {"url": page, "path": settings.path, "dvc": data.data.version}
    profile = {"num_rows": data.accepted, "quarantined": data.quarantined, "twins": data.twins, **data.split_rows}
    columns = [{"name": name, "type": "string"} for name in (settings.input, settings.target)]
    logged = Dataset(
        name=settings.path,
        digest=data.data.version,
        source_type="http",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
    client().log_inputs(run_id, datasets=[DatasetInput(logged, [InputTag("mlflow.data.context", "training")])])


def _end(run: TrackedRun, status: str) -> None:
    if not run.finished:
        client().set_terminated(run.run_id, status)


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
