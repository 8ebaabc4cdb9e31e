"""The steps of the line as Prefect's tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.utilities.annotations import quote

from graftline.tasks.outside_faults import require_database
from graftline.tasks.patience import Server, until_there
from graftline.tasks.stopping import look
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import no_answer, require_tracking_server, tracking_uri
from graftline.tasks.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


class Step(Task[P, R]):
    """A task that a run's graph shows in its place in time, with no arrows.

    Prefect draws one from every task whose result another takes, and twenty of them hide that the run is one line.
    Arrows from each step to the next alone have it put steps wherever their names have room, and are no clearer.
    """

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:  # type: ignore[override]  # none of Prefect's options
        """The result of the step. Quoted arguments are not looked into for results of other tasks.

        Raises: Stopped if someone asked to stop; ServerAwayError if Prefect's server is away for too long.
        """
        look()
        require_prefect()
        quoted = {name: quote(value) for name, value in named.items()}
        # Without the run's tags: for each of a task Prefect asks its server for room before and after, in vain.
        with TagsContext(current_tags=set()):
            return super().__call__(*map(quote, arguments), **quoted)  # type: ignore[arg-type]  # bare in the function


def require_servers(workspace: Workspace) -> None:
    """Raises: ServerAwayError if MLflow's or Prefect's server is named and does not answer; what `require_database`
    raises of their files where none is named.
    """
    require_tracking_server(workspace)
    require_prefect()
    _require_databases(workspace)


def require_prefect() -> None:
    """Raises: ServerAwayError if the settings name a Prefect server that does not answer; in a run it is waited for."""
    from prefect.settings import PREFECT_API_URL

    if address := PREFECT_API_URL.value():
        until_there(
            Server(
                "Prefect",
                f"PREFECT_API_URL={without_password(address)}",
                otherwise="to have a temporary one",
                fault=lambda: no_answer(address),
            )
        )


def _require_databases(workspace: Workspace) -> None:
    """On a file that it cannot use, Prefect's temporary server would begin again and again, for minutes."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL
    from sqlalchemy.engine import make_url

    of_prefect = [] if PREFECT_API_URL.value() else [str(PREFECT_API_DATABASE_CONNECTION_URL.value())]
    for address in [tracking_uri(workspace), *of_prefect]:
        file = Path(make_url(address).database or "") if address.startswith("sqlite") else Path()
        if file.is_absolute():  # and not in memory
            require_database(file)


def step(
    name: str,
    *,
    retry_delays_seconds: Sequence[float] = (),
    retry_if: Callable[[Any, Any, State[Any]], bool] | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step. What it did lies in a folder of its own, so Prefect keeps no results."""

    def as_step(function: Callable[P, R]) -> Step[P, R]:
        return Step(
            function,
            name=name,
            task_run_name=name,  # without the letters that Prefect adds
            retries=len(retry_delays_seconds),
            retry_delay_seconds=list(retry_delays_seconds),
            retry_condition_fn=retry_if,
            persist_result=False,
            cache_policy=NO_CACHE,
        )

    return as_step
