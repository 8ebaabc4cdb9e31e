"""The verbs of the loop: what is served is watched, and what follows from it."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from graftline.flows.commands.options import AsJson, Debug, Name, Params
from graftline.flows.commands.running import run_verb, say

Policy = Annotated[Path, typer.Option("--policy", help="The file with the retraining policy.")]
RETRAINING = Path("mlflow/retraining.yaml")


def watch(
    name: Name,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="The last day to look at, of UTC; otherwise yesterday.")
    ] = None,
    simulate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--simulate",
            metavar="FROM TO",
            help="Replay these days of the log and say what the retraining policy would have started, and at what cost;"
            " nothing is kept or started.",
        ),
    ] = None,
    policy: Policy = RETRAINING,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Look at what the champion answered since the last look, and raise an alarm where something has changed."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings

        settings = read_settings(params)
        say("starting: loading MLflow and the log")
        from graftline.flows import watch

        if simulate is not None:
            return watch.simulate(Path.cwd(), settings, name, *simulate, policy=policy)
        # As a plain function: a temporary Prefect server would take longer than the work.
        return watch.watch.fn(name, until, str(policy), str(params))

    run_verb(call, as_json=as_json, debug=debug)


def react(
    name: Name,
    branch: Annotated[
        str | None,
        typer.Option(
            "--branch", help="Fetch it and look at its head for a new data version; otherwise at data.dvc here."
        ),
    ] = None,
    policy: Policy = RETRAINING,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask the retraining policy about alarms and new data, and start a candidate if it says so; never a promotion."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.react import react

        return react.fn(name, branch or "", str(policy), str(params))

    run_verb(call, as_json=as_json, debug=debug)
