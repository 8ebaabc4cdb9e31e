"""What the list of runs and a run's own page say about it: its name, its tags, and the sentence of its end."""

import functools
import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import FailedRun, MissingResult, ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed, Failed
from pydantic import JsonValue

from graftline.errors import GraftlineError
from graftline.flows.heartbeats import beating
from graftline.flows.notifying import notify
from graftline.flows.servers.checkout import COMMIT, DIGITS, in_use
from graftline.flows.servers.forms import offer_versions
from graftline.flows.servers.lost_runs import UNDER_WAY, lost_state
from graftline.flows.servers.starting import late_run, require_same_graftline
from graftline.flows.stopping import stopped_as_prefect_does
from graftline.settings import Settings
from graftline.tasks.data.files import DataVersion
from graftline.tasks.living_runs import living, mend_lost
from graftline.tasks.outside_faults import told_in_a_sentence
from graftline.tasks.tracking.server import connect, has_registry, refusing_with_mlflow
from graftline.tasks.workspace import Workspace

Result = dict[str, JsonValue]
P = ParamSpec("P")
Value = TypeVar("Value")

WAITS = "waits for approval"
# Tags of ours that an earlier start of the same run may have left.
PASSING_TAGS = {"PROMOTE", "HOLD", "REJECT", WAITS}
# Prefect's server answers 500 where two of its own writers met in its SQLite file; nothing is changed then.
ATTEMPTS = 3

# What the flows that were called here gave, or why they failed.
_ENDS: ContextVar[list[Result | GraftlineError]] = ContextVar("ends")

logger = logging.getLogger("graftline.run_page")


@dataclass(frozen=True)
class Told:
    """What a finished run is called, how it is tagged, and the sentence of its state."""

    name: str
    tags: tuple[str, ...]
    sentence: str


def told(tell: Callable[[Result], Told]) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Have a flow's page tell its result as `tell` says, and a fault that a person can mend as its one sentence.

    The states keep Prefect's own names, which automations go by. As a plain function it stays as it is.
    """

    def telling(function: Callable[P, Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def flow_function(*arguments: P.args, **named: P.kwargs) -> Result:
            run = own_run()
            if run is None:
                return function(*arguments, **named)
            if (dropped := late_run(run)) is not None:
                return cast("Result", dropped)
            workspace = Workspace(Path.cwd())
            _ask_server(
                lambda client: mend_lost(workspace, partial(_end_lost, client, run.id)), "the end of killed runs"
            )
            try:
                with (
                    beating(run),
                    in_use(workspace.root),
                    living(workspace, str(run.id)),
                    stopped_as_prefect_does(),
                    told_in_a_sentence(),
                ):
                    require_same_graftline(run)
                    result = function(*arguments, **named)
                if isinstance(result, State):
                    return result  # another flow of ours has told it
            except GraftlineError as error:
                if _is_tried_again():
                    raise  # Prefect starts none again that gives a state, and would have it wait for ever
                return _ended(Failed, " ".join(str(error).split()), error)
            end = tell(result)
            name_run(end.name, *end.tags)
            if tell is of_verdict:
                notify("verdict", end.name, end.sentence)
            _ask_server(lambda client: _offer_versions(client, str(result["model"])), "the forms' versions")
            return _ended(Completed, end.sentence, result)

        return flow_function

    return telling


def call_flow(call: Callable[[], Result]) -> Result:
    """What a flow gives that is `told`. Raises: what it raises.

    A server that answers too late is told of the end twice, and the second time Prefect takes its copy for it, which
    has neither the result nor the error.
    """
    ends: list[Result | GraftlineError] = []
    token = _ENDS.set(ends)
    try:
        return call()
    except (FailedRun, MissingResult):
        if not ends:
            raise
        if isinstance(ends[-1], GraftlineError):
            raise ends[-1] from None
        return ends[-1]
    finally:
        _ENDS.reset(token)


def _ended(state: Callable[..., State], message: str, end: Result | GraftlineError) -> Result:
    """The end of a flow as Prefect takes it from a flow's function. Whoever calls the flow gets or catches `end`."""
    _ENDS.get([]).append(end)
    return cast("Result", state(message=message, data=end))


def of_verdict(result: Result) -> Told:
    """A run of the line by its verdict and the first reason for it."""
    model, verdict = str(result["model"]), str(result["verdict"])
    reasons = cast("list[str]", result["reasons"])
    sentence = "; ".join([f"{verdict}: {reasons[0]}", *reasons[1:]])
    return Told(f"{model} v{result['version']} {verdict}", (model, verdict), sentence)


def of_move(result: Result) -> Told:
    """A decision about a registered model by the version that it made champion."""
    model = str(result["model"])
    return Told(f"{result['action']} {model} v{result['version']}", (model,), str(result["summary"]))


def name_run_under_way(settings: Settings, version: DataVersion) -> None:
    """Name a run of the line, while there is no verdict, by what tells it apart from others."""
    model = settings.registry.model
    name_run(f"{model} {settings.adaptation.strategy} {version.version[:6]}", model)


def name_waiting_run(model: str, version: int) -> None:
    """Name a run that is suspended until a person answers."""
    name_run(f"{model} v{version} HOLD, {WAITS}", model, "HOLD", WAITS)


def name_run(name: str, *tags: str) -> None:
    """Name and tag the run that goes on here, if any."""
    run = own_run()
    if run is None:
        return
    others = [tag for tag in run.tags if tag not in PASSING_TAGS]
    at = os.environ.get(COMMIT, "")[:DIGITS]  # of a clone; a worker in the project folder has none
    all_tags = list(dict.fromkeys([*others, *tags, *([f"commit {at}"] if at else [])]))
    _ask_server(lambda client: client.update_flow_run(run.id, name=name, tags=all_tags), f"the run's name {name}")


def _ask_server(ask: Callable[[SyncPrefectClient], object], what: str) -> None:
    """Change something on the page, which is no reason for a run to fail, nor to wait for a server that is away."""
    for attempt in range(ATTEMPTS):
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}), get_client(sync_client=True) as client:
                ask(client)
        except httpx.HTTPError as error:
            if attempt == ATTEMPTS - 1:
                logger.warning("Prefect's page does not show %s: its server did not take it (%s)", what, error)
        except GraftlineError as error:
            logger.warning("Prefect's page does not show %s: %s", what, error)
            return
        else:
            return


def _offer_versions(client: SyncPrefectClient, model: str) -> None:
    """Raises: RegistryRefusedError where MLflow does not say which versions there are."""
    workspace = Workspace(Path.cwd())
    if has_registry(workspace):
        with refusing_with_mlflow(model):
            connect(workspace)  # what was told may have been read without MLflow
            offer_versions(client, model)


def _end_lost(client: SyncPrefectClient, own: UUID, run: str) -> bool:
    """Tell Prefect that a run's process is gone. Returns: whether this server knows the run; another may.

    The note of our `own` run is of an earlier start, which was killed: now it goes on here.
    """
    if run == str(own):
        return True
    try:
        found = client.read_flow_run(UUID(run))
    except ObjectNotFound:
        return False
    if found.state_type in UNDER_WAY:
        client.set_flow_run_state(found.id, lost_state(), force=True)
    return True


def _is_tried_again() -> bool:
    """Whether the flow that goes on here is started again where it fails."""
    context = FlowRunContext.get()
    return context is not None and context.flow is not None and bool(context.flow.retries)


def own_run() -> FlowRun | None:
    """Prefect's run that goes on here."""
    context = FlowRunContext.get()
    return context.flow_run if context else None
