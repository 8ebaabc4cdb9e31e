"""A registry with judged versions that can be served, without a run of the line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from graftline.tasks.registry.carrying_out import append, settled
from graftline.tasks.registry.history import deciding
from graftline.tasks.registry.records import Entry
from graftline.tasks.registry.versions import CHAMPION
from graftline.tasks.steps.served_parts import served_parts
from graftline.tasks.tracking.model_files import digests_of
from graftline.tasks.tracking.server import experiment_of
from graftline.tasks.workspace import Workspace


def register_judged(workspace: Workspace, model: str, adapted: Sequence[Path]) -> list[Path]:
    """A version of each of these text models of single labels, as its record knows its files; the first is champion.

    The project has to be connected to its registry. Returns: the folders that the registry keeps of the versions.
    """
    client, folders = MlflowClient(), []
    client.create_registered_model(model)
    run = client.create_run(experiment_of(workspace, model))
    for number, folder in enumerate(adapted, start=1):
        made = workspace.root / "made" / str(number)
        parts = served_parts(folder, "text", "single_label", column="text", scratch=made / "scratch")
        folders.append(made / "registered")
        mlflow.pyfunc.save_model(path=folders[-1], **parts)
        version = client.create_model_version(model, folders[-1].as_uri(), run.info.run_id)
        _judge(workspace, model, int(version.version), run.info.run_id, digests_of(model, folders[-1]))
    client.set_registered_model_alias(model, CHAMPION, "1")
    return folders


def _judge(workspace: Workspace, model: str, number: int, run_id: str, files: Mapping[str, str]) -> None:
    reasons = ("for a trial",)
    with deciding(workspace, model):
        entry = Entry(
            action="verdict", version=number, champion_before=None, champion_after=None, why=reasons[0],
            verdict="HOLD", reasons=reasons, run_id=run_id, files=files,
        )  # fmt: skip
        append(workspace, model, settled(workspace, model), entry)
