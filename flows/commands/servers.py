"""The verbs of a team's servers: what runs there, who makes it run, and how it ends."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import JsonValue

from graftline.flows.commands.options import AsJson, Debug
from graftline.flows.commands.running import run_verb, say

Run = Annotated[str, typer.Argument(help="The id of the run, or its name if only one has it.")]


def team(
    prefect_port: Annotated[int, typer.Option("--prefect-port", help="Port of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", help="Port of MLflow's page.")] = 5000,
    s3_port: Annotated[int, typer.Option("--s3-port", help="Port of the S3 server.")] = 8333,
    workers: Annotated[int, typer.Option("--workers", min=0, help="How many workers run on this machine.")] = 2,
    data: Annotated[
        Path | None, typer.Option("--data", help="Where the servers keep everything; otherwise .graftline/team.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="A name by which a proxy in front asks for the pages.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Start Postgres, S3, MLflow, Prefect, the deployments and workers on this machine, and wait for Ctrl-C."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.team import Team, team

        root = Path.cwd()
        folder = data.resolve() if data else root / ".graftline" / "team"
        return team(Team(root, folder, prefect_port, mlflow_port, s3_port, workers, tuple(host or ())), say=say)

    run_verb(call, as_json=as_json, debug=debug)


def deploy(
    repository: Annotated[
        str | None, typer.Option("--repository", help="Where workers get the project; otherwise git's remote origin.")
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="Each run is made at the head of it; otherwise the present one.")
    ] = None,
    commit: Annotated[str | None, typer.Option("--commit", help="Each run is made at this one instead.")] = None,
    pool: Annotated[str, typer.Option("--pool", help="The work pool whose workers run it.")] = "local",
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="When adapt runs, as cron has it: '0 3 * * *'.")
    ] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="Of the schedule, such as Europe/Berlin.")] = "UTC",
    when_busy: Annotated[
        Literal["drop", "wait"],
        typer.Option("--when-busy", help="What becomes of a run of adapt while another one trains the model."),
    ] = "drop",
    retries: Annotated[int, typer.Option("--retries", min=0, help="How often a failed training is tried again.")] = 0,
    loop: Annotated[
        bool,
        typer.Option(
            "--loop",
            help="Switch on the schedules of watch and react; otherwise they are as the page has them, at first off.",
        ),
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write this project's deployments to the server that PREFECT_API_URL names."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.deploy import deploy

        return deploy(
            Path.cwd(),
            repository=repository,
            branch=branch,
            commit=commit,
            pool=pool,
            cron=schedule,
            timezone=timezone,
            when_busy=when_busy,
            retries=retries,
            loop=loop,
            say=say,
        )

    run_verb(call, as_json=as_json, debug=debug)


def runs(as_json: AsJson = False, debug: Debug = False) -> None:
    """List what runs, waits or is stuck on Prefect's server, and why."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.runs import runs

        return runs(Path.cwd())

    run_verb(call, as_json=as_json, debug=debug)


def cancel(run: Run, as_json: AsJson = False, debug: Debug = False) -> None:
    """Stop a run, on whatever machine it is, and wait until it has ended."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.runs import cancel

        return cancel(Path.cwd(), run, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def restart(run: Run, as_json: AsJson = False, debug: Debug = False) -> None:
    """Start a run again that has ended, with its parameters: it goes on after the last finished step."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.runs import restart

        return restart(Path.cwd(), run)

    run_verb(call, as_json=as_json, debug=debug)
