"""What a run of a deployment looks at before it does anything: is it still wanted, whose code, whose settings?"""

import importlib.metadata
import logging
import os
from datetime import UTC, datetime

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Cancelled

from graftline.errors import SettingsError
from graftline.flows.servers.checkout import COMMIT
from graftline.flows.servers.plans import MADE_BY
from graftline.settings import PARAMS, Settings, read_settings
from graftline.tasks.workspace import Workspace

# The tag of a run that the retraining policy started.
BY_POLICY = "by the retraining policy"

logger = logging.getLogger("graftline.starting")


def late_run(run: FlowRun) -> State[None] | None:
    """The end of a scheduled run in whose place a later one is due by now, as after days without a worker.

    They would do the same, one after the other. None of any other run: it is wanted.
    """
    if not run.auto_scheduled or run.deployment_id is None or run.expected_start_time is None:
        return None
    later = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [str(run.deployment_id)]},
            "expected_start_time": {
                "after_": run.expected_start_time.isoformat(), "before_": datetime.now(UTC).isoformat()
            },
        }
    )  # fmt: skip
    try:
        with get_client(sync_client=True) as client:
            found = [one for one in client.read_flow_runs(flow_run_filter=later) if _stands_for(one, run)]
    except httpx.HTTPError:
        return None  # rather one too many
    if not found:
        return None
    return Cancelled(
        message=f"dropped: it was due at {run.expected_start_time:%Y-%m-%d %H:%M} UTC, and a later one is due"
    )


def _stands_for(other: FlowRun, run: FlowRun) -> bool:
    """Whether it was scheduled as well, for a later time, and was not dropped itself."""
    assert run.expected_start_time is not None
    is_later = other.expected_start_time is not None and other.expected_start_time > run.expected_start_time
    dropped = other.state is not None and other.state.is_cancelled()
    return other.auto_scheduled and other.id != run.id and is_later and not dropped


def require_same_graftline(run: FlowRun) -> None:
    """Raises: SettingsError if another release of Graftline made the deployment than the one that runs here."""
    made_by, here = run.deployment_version or "", importlib.metadata.version("graftline")
    if made_by.startswith(MADE_BY) and (there := made_by.removeprefix(MADE_BY)) != here:
        raise SettingsError(
            f"this deployment was made by Graftline {there}, this worker has {here}: install {there} here, or run"
            f" `graftline deploy` with {here}"
        )


def settings_of_commit(workspace: Workspace, given: Settings) -> Settings:
    """Those of the project's present commit, for a run of a team's deployment that nobody sent; else those given.

    What a deployment has filled in is from the day on which it was made.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not (run.auto_scheduled or BY_POLICY in run.tags) or not os.environ.get(COMMIT):
        return given
    found = read_settings(workspace.root / PARAMS)
    if found != given:
        logger.info("%s has changed since `graftline deploy`: this run takes the settings of its commit", PARAMS)
    return found
