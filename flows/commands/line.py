"""The verbs that run the line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from graftline.flows.commands.options import AsJson, Assignments, Debug, FullCheck, Name, Params, Version
from graftline.flows.commands.running import run_verb, say

if TYPE_CHECKING:
    from graftline.tasks.workspace import Workspace


def adapt(
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    full_check: FullCheck = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Validate the data, adapt the base model, evaluate, register, and decide whether it becomes champion."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings
        from graftline.tasks.base_models.ranked import with_ranked
        from graftline.tasks.readiness import ready_settings
        from graftline.tasks.unchanged.receipts import result_if_unchanged
        from graftline.tasks.workspace import Workspace

        # First the news that nothing has changed, then what is wrong or missing: neither need wait for what is heavy.
        workspace = Workspace(Path.cwd())
        wished = with_ranked(workspace, read_settings(params, assignments)) if params.is_file() else None
        if wished and (known := result_if_unchanged(workspace, wished, full_check=full_check)) is not None:
            return known
        settings = ready_settings(workspace.root, params, assignments)
        with _in_prefect(workspace, debug=debug):
            from graftline.flows.adapt import adapt
            from graftline.flows.run_page import call_flow

            return call_flow(lambda: adapt(settings))

    run_verb(call, as_json=as_json, debug=debug)


def search(
    trials: Annotated[int, typer.Option("--trials", min=1, max=1000, help="How many settings to try in all.")] = 20,
    hours: Annotated[
        float, typer.Option("--hours", min=0, max=1000, help="Begin no trial that would end later; 0: no limit.")
    ] = 0,
    strategies: Annotated[
        str, typer.Option("--strategies", help="Those to try, as in lora,partial; otherwise those that usually pay.")
    ] = "",
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, max=100, help="How many to propose together, for workers to try at once.")
    ] = 1,
    adapts: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="Whether the best settings then go through the line.")
    ] = True,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Try settings of the adaptation on the validation rows, then adapt with the best; goes on after a kill."""

    def call() -> dict[str, JsonValue]:
        from graftline.search.space import space_of, strategies_named
        from graftline.tasks.readiness import ready_settings
        from graftline.tasks.workspace import Workspace

        named = strategies_named(strategies)
        settings = ready_settings(Path.cwd(), params, assignments)
        space_of(settings.adaptation, named)  # what is wrong need not wait for what is heavy
        with _in_prefect(Workspace(Path.cwd()), debug=debug):
            from graftline.flows.run_page import call_flow
            from graftline.flows.search import search

            return call_flow(lambda: search(trials, hours, named, at_once, adapts, settings=settings))

    run_verb(call, as_json=as_json, debug=debug)


@contextmanager
def _in_prefect(workspace: "Workspace", *, debug: bool) -> Iterator[None]:
    """Inside, flows run at the server that is named, or at a temporary one. Raises: ServerAwayError."""
    say("starting: loading Prefect, PyTorch and MLflow")
    from graftline.tasks.step import require_servers

    require_servers(workspace)
    from prefect import tags

    from graftline.flows.console import hush_tools
    from graftline.flows.heartbeats import OURS
    from graftline.flows.servers.temporary_prefect import use_prefect_server
    from graftline.flows.stopping import prefect_looks

    if not debug:
        hush_tools()
    use_prefect_server(workspace)
    with prefect_looks(), tags(OURS):
        yield


def check(
    params: Params = Path("params.yaml"), assignments: Assignments = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Look at settings, data, base model, policy, servers, disk, memory and expected time, without training."""

    def call() -> dict[str, JsonValue]:
        from graftline.tasks.base_models.ranked import with_ranked
        from graftline.tasks.readiness import settings_or_init
        from graftline.tasks.workspace import Workspace

        settings = with_ranked(Workspace(Path.cwd()), settings_or_init(Path.cwd(), params, assignments))
        from graftline.flows.check import check

        return check(Path.cwd(), settings, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def plan(
    discordance: Annotated[
        float | None,
        typer.Option("--discordance", help="The share of rows on which two models differ; otherwise the last ones'."),
    ] = None,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell how many held-out rows show which difference, before any training."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.plan import plan
        from graftline.tasks.readiness import settings_or_init

        return plan(Path.cwd(), settings_or_init(Path.cwd(), params, assignments), discordance)

    run_verb(call, as_json=as_json, debug=debug)


def rank(
    verified: Annotated[
        int,
        typer.Option("--verify", min=0, help="Fine-tune so many of them, to see whether the scores mean anything."),
    ] = 0,
    depths: Annotated[
        bool,
        typer.Option("--depths", help="Tune the advised one from several blocks on, to see which is the best."),
    ] = False,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare the base models that base_models names on your rows, before anything is trained."""

    def call() -> dict[str, JsonValue]:
        from graftline.tasks.readiness import settings_or_init

        settings = settings_or_init(Path.cwd(), params, assignments)
        from graftline.flows.rank import rank

        return rank(Path.cwd(), settings, verified=verified, depths=depths, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def distance(
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="COMMIT", help="Also the data of this commit, beside the present ones."),
    ] = None,
    served: Annotated[
        bool, typer.Option("--served", help="Also what the champion answered, beside its held-out rows.")
    ] = False,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure how far the probe's rows, slices, other data versions or served rows lie from yours."""

    def call() -> dict[str, JsonValue]:
        from graftline.tasks.readiness import settings_or_init

        settings = settings_or_init(Path.cwd(), params, assignments)
        from graftline.flows.distance import distance

        return distance(Path.cwd(), settings, since=since, served=served, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def reproduce(name: Name, version: Version = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Run a version (without --version: the champion) again elsewhere and compare the digests."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.reproduce import reproduce

        return reproduce.fn(name, version)

    run_verb(call, as_json=as_json, debug=debug)
