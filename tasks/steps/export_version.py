"""Beside the line, export_version: a variant of a version, registered under a name of its own if it stands the gate."""

import importlib.metadata
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.onnx_graph import GRAPH, NEEDED, OPSET, Weights, require_onnx, write_graph
from graftline.compute.threads import thread_count
from graftline.digests import json_sha256
from graftline.errors import GraftlineError, RegistryRefusedError, SettingsError
from graftline.models.folders import load_classifier, load_preprocessor
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, questions, raw_inputs, read_split
from graftline.tasks.registry.binding import SPLIT_SHA256, TEST_SHA256
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.manifest import opened, require_as_judged
from graftline.tasks.registry.named import NamedVersion
from graftline.tasks.registry.promotion import record_verdict, repair
from graftline.tasks.registry.versions import (
    CHECKED,
    DATA_VERSION,
    NAME,
    RIVAL,
    RUN_KEY,
    VERDICT,
    WEIGHTS,
    champion_of,
    find_version,
    make_model,
    note_verdict,
)
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.serving.answering import ADAPTED, open_registered
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.state.folders import RUNS, alone_everywhere
from graftline.tasks.steps.held_out import predictions_sha256
from graftline.tasks.steps.onnx_variant import Limits, Parity, judge_variant
from graftline.tasks.steps.register_model import NO_RIVAL
from graftline.tasks.steps.served_parts import as_logged, served_parts
from graftline.tasks.tracking.model_files import digests_of
from graftline.tasks.tracking.requirements import public_version
from graftline.tasks.tracking.server import client, model_folder
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

# The version that a variant was made of, on its run and on itself.
VARIANT_OF = "graftline.variant_of"

logger = logging.getLogger("graftline.export")


@dataclass(frozen=True)
class Exported:
    """What came of exporting a version."""

    name: str
    number: int | None
    """None where it did not stand the gate."""
    parity: Parity | None
    """None where it was exported before."""
    obstacles: tuple[str, ...]


def export_version(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    version: NamedVersion,
    weights: Weights,
    limits: Limits,
) -> Exported:
    """Write the graph of a version, judge it on the held-out rows, and register what stands as NAME-onnx or
    NAME-onnx-int8, whose champion it becomes.

    Raises: SettingsError without ONNX, for a name that is too long, or where no graph can be made; RegistryRefusedError
    for a version that was never champion or that Graftline did not make, or that does something else than the data are
    for; ChangedFilesError if its files are not those that were judged.
    """
    require_onnx(f"export of {version}")
    name = f"{version.model}-onnx{'-int8' if weights == 'int8' else ''}"
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"export: {name} is no name for a model, expected 63 characters or fewer; choose a shorter registry.model"
        )
    if VARIANT_OF in version.version.tags:
        raise RegistryRefusedError(
            f"export: {version} is a variant itself, of {version.version.tags[VARIANT_OF]}; name that one"
        )
    if all(record.champion_after != version.number for record in read_history(workspace, version.model)):
        raise RegistryRefusedError(
            f"export: {version} was never champion, and its variant would be one under {name}; promote or override it"
            " first, or name another version"
        )
    require_as_judged(workspace, version.model, version.number)
    repair(workspace, name)
    key = _key(version, weights)
    (workspace.artifacts / "runs").mkdir(parents=True, exist_ok=True)
    # One at a time, so that two at once make one version.
    with FileLock(workspace.artifacts / "runs" / f".{key}.lock"), alone_everywhere(RUNS, key):
        known = find_version(name, key)
        if known is not None and VERDICT in known.tags:
            require_as_judged(workspace, name, int(known.version))
            return Exported(name, int(known.version), None, ())
        if known is not None:  # a kill came before its verdict
            client().delete_model_version(name, known.version)
        return _exported(workspace, settings, data, version, weights, limits, name=name, key=key)


def _exported(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    version: NamedVersion,
    weights: Weights,
    limits: Limits,
    *,
    name: str,
    key: str,
) -> Exported:
    with opened(workspace, version.model, version.number) as registered, scratch_folder(workspace) as scratch:
        kind = open_registered(str(version), registered, version.weights_sha256).kind
        if kind != data.kind:
            raise SettingsError(f"export: {version} reads {kind}, and data.kind is {data.kind}; name another version")
        folder = Path(shutil.copytree(registered / ADAPTED, scratch / "model"))
        _write(workspace, folder, data, weights)
        parity = judge_variant(workspace, folder, settings, data)
        obstacles = parity.obstacles(limits)
        if obstacles:
            return Exported(name, None, parity, tuple(obstacles))
        made = _registered(name, version, folder, data, key, scratch)
    number = int(made.version)
    files = _files_that_answer(workspace, made, settings, data, parity)
    _record(workspace, name, number, parity, limits, files)
    return Exported(name, number, parity, ())


def _key(version: NamedVersion, weights: Weights) -> str:
    """The same for equal graphs of one version."""
    libraries = {name: importlib.metadata.version(name) for name in (*NEEDED, "torch")}
    return json_sha256([version.uri, version.weights_sha256, weights, OPSET, {**libraries}])


def _write(workspace: Workspace, folder: Path, data: ValidatedData, weights: Weights) -> None:
    logger.info("export: writing the graph of the model, with weights in %s", weights)
    preprocessor = load_preprocessor(folder)
    example = preprocessor.collate(preprocessor.encode(raw_inputs(workspace, data, "test")[:1]))
    write_graph(load_classifier(folder), example, folder / GRAPH, weights=weights)


def _registered(
    name: str, version: NamedVersion, folder: Path, data: ValidatedData, key: str, scratch: Path
) -> "ModelVersion":
    import mlflow

    server = client()
    experiment = server.get_run(str(version.version.run_id)).info.experiment_id
    of = {VARIANT_OF: f"{version.model}/{version.number}"}
    with mlflow.start_run(experiment_id=experiment, run_name=f"export of {version}", tags=of) as run, as_logged():
        parts = served_parts(folder, data.kind, data.task, data.further, column=data.input, scratch=scratch)
        parts["model_config"] |= {"runtime": "onnx"}
        parts["pip_requirements"].append(f"onnxruntime=={public_version(importlib.metadata.version('onnxruntime'))}")
        logged = mlflow.pyfunc.log_model(name="model", **parts)
    make_model(name)
    champion = champion_of(name)
    tags = {
        RUN_KEY: key,
        WEIGHTS: str(version.weights_sha256),
        DATA_VERSION: data.data.version,
        TEST_SHA256: data.test_sha256,
        SPLIT_SHA256: data.split_sha256,
        RIVAL: NO_RIVAL if champion is None else str(champion),
        **of,
    }
    return server.create_model_version(name, logged.model_uri, run.info.run_id, tags=tags, model_id=logged.model_id)


def _files_that_answer(
    workspace: Workspace, made: "ModelVersion", settings: Settings, data: ValidatedData, parity: Parity
) -> dict[str, str]:
    """The digests of the registered files, once they answered in a process of their own as they were judged.

    Raises: GraftlineError if they answer otherwise.
    """
    uri = f"models:/{made.name}/{made.version}"
    with model_folder(workspace, uri) as folder:
        files = digests_of(f"{made.name} version {made.version}", folder)
    asked, threads = questions(workspace, data.with_all_rows, "test"), thread_count(settings.adaptation.threads)
    logger.info("export: asking %s for all %d held-out rows in a fresh process", uri, len(asked))
    scored = score_in_fresh_process(workspace, uri, asked, threads=threads, files=files)
    row_ids = read_split(data, "test", ["row_id"])["row_id"]
    is_same = TASKS[data.task].scores.is_same
    got = predictions_sha256(row_ids, scored.predictions[places_with_target(data, "test")], is_same)
    if got != parity.predictions_sha256:
        raise GraftlineError(
            f"{uri}: its predictions in a fresh process have digest {got[:12]}, expected"
            f" {parity.predictions_sha256[:12]} as judged; it has no verdict and no alias; please report this"
        )
    client().set_model_version_tag(made.name, made.version, CHECKED, "equal")
    return files


def _record(
    workspace: Workspace, name: str, number: int, parity: Parity, limits: Limits, files: dict[str, str]
) -> None:
    plain: dict[str, JsonValue] = parity.as_json()
    record = record_verdict(
        workspace,
        name,
        version=number,
        verdict="PROMOTE",
        reasons=(parity.sentence(),),
        rival=champion_of(name),
        evaluation_sha256=json_sha256(plain),
        policy_sha256=json_sha256(asdict(limits)),
        files=files,
    )
    note_verdict(name, record)
