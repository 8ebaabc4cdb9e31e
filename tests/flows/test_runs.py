"""What MLflow believes to go on is told whatever its tags say: who may write to MLflow may write anything there."""

from types import SimpleNamespace
from typing import cast

from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient

from graftline.flows.runs import _unfinished_in_mlflow
from graftline.tasks.tracking.left_runs import ORCHESTRATED_BY
from graftline.tasks.tracking.server import experiment_of
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL


def test_a_tag_that_names_no_run_is_of_no_run_here(workspace: Workspace) -> None:
    tags = {ORCHESTRATED_BY: "no run"}
    run = MlflowClient().create_run(experiment_of(workspace, MODEL), tags=tags)
    ended, others = _unfinished_in_mlflow(
        workspace.root, cast("SyncPrefectClient", SimpleNamespace(read_flow_run=None))
    )
    assert (ended, [one.run_id for one in others]) == ([], [run.info.run_id])
