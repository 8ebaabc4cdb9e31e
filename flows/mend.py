"""The end of MLflow's part of a run whose process is gone: started by the rule of `graftline deploy`."""

from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from pydantic import JsonValue

from graftline.flows.heartbeats import beating
from graftline.flows.servers.lost_runs import is_over
from graftline.tasks.tracking.left_runs import end_left, unfinished_runs
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace


@flow(name="mend", persist_result=False)
def mend(run: str) -> dict[str, JsonValue]:
    """End what MLflow believes to go on of a run that Prefect knows to have ended.

    Args:
        run: The id of Prefect's run.
    """
    context = FlowRunContext.get()
    with beating(context.flow_run) if context and context.flow_run else nullcontext():
        ended = end_tracked(run)
    return {"run": run, "ended": list(ended)}


def end_tracked(run: str) -> list[str]:
    """End MLflow's runs of a run of Prefect, unless that goes on (again). Returns: their ids.

    Raises: ServerAwayError if MLflow's server does not answer.
    """
    with get_client(sync_client=True) as client:
        if not is_over(client.read_flow_run(UUID(run))):
            return []
    connect(Workspace(Path.cwd()))
    left = unfinished_runs(orchestrated_by=run)
    end_left(left)
    return [one.run_id for one in left]
