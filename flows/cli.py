"""The command line: `graftline VERB`, each verb a flow of the same name."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

import graftline
from graftline.errors import GraftlineError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Adapt a pre-trained model to your own data, prove that it is better, and move it into production.",
)

AsJson = Annotated[bool, typer.Option("--json", help="The last line of standard output is one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Params = Annotated[Path, typer.Option("--params", help="The settings file.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: section.key=value.")]

Name = Annotated[str, typer.Argument(help="The registered model.")]
Version = Annotated[int | None, typer.Option("--version", help="The version of the model.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; stands in the history.")]

# No tool of the chain may report to its makers unless the user asked for it.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# Prefect gives its temporary server 20 seconds to start, which a busy machine with two cores may exceed.
PATIENCE = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}


def main() -> None:
    _hand_over_to_the_code_of_this_folder()
    for name, value in (TELEMETRY_OFF | PATIENCE).items():
        os.environ.setdefault(name, value)
    app()


@app.command()
def adapt(
    params: Params = Path("params.yaml"), assignments: Assignments = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Validate the data, adapt the base model, evaluate, register, and decide whether it becomes champion."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.adapt import adapt
        from graftline.flows.console import hide_tracebacks
        from graftline.settings import read_settings

        settings = read_settings(params, assignments)
        if not debug:
            hide_tracebacks()
        return adapt(settings)

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def lock(
    params: Params = Path("params.yaml"), assignments: Assignments = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Pin the base model: write its files, sizes and digests into base_models.lock."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.lock import lock
        from graftline.settings import read_settings

        return lock(read_settings(params, assignments), Path.cwd())

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(help="package:NAME/FILE, or a path in the project; of a folder its pytorch_model.bin."),
    ],
    output: Annotated[str, typer.Option("--output", help="The folder in the project that the base model becomes.")],
    architecture: Annotated[
        str | None,
        typer.Option("--architecture", help="Of timm; without it, config.json beside the weights says what they are."),
    ] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", help="Which dictionary of tensors, where the file holds several.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="The licence of the weights.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a locked safetensors base model of a .pth, .pt, .bin or .ckpt file, without running what is in it."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.convert import convert

        return convert(Path.cwd(), source, output=output, architecture=architecture, entry=entry, licence=licence)

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def promote(
    name: Name, version: Version = None, reason: Reason = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Make a version that the gate lets pass (without --version: the challenger) the champion."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.promote import promote

        # As a plain function: a temporary Prefect server would take longer than the work.
        return promote.fn(name, version, reason or "promoted by hand")

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def rollback(name: Name, reason: Reason = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Give a model its previous champion back."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.rollback import rollback

        return rollback.fn(name, reason or "rolled back by hand")

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def override(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="The version of the model.")],
    reason: Annotated[str, typer.Option("--reason", help="Why the gate's verdict shall not count; may not be blank.")],
    despite: Annotated[
        str | None, typer.Option("--despite", help="What bars the version, if anything does: modified-data.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a version the champion that the gate held or rejected; stands in the history as an override."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.override import override

        return override.fn(name, version, reason, despite)  # type: ignore[arg-type]  # checked there

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def approve(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="The version that waits for approval.")],
    by: Annotated[str, typer.Option("--by", help="Your name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the history.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Approve (or reject) a promotion that waits for a person's word, as the form on Prefect's page does."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.approve import approve

        return approve(name, version, by=by, reason=reason, reject=reject)

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def history(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="Prove that nothing was changed outside of Graftline.")] = (
        False
    ),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what was decided about a model: who, when, from, to, why."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.history import history, verified_history

        return verified_history(name) if verify else history(name)

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def reproduce(name: Name, version: Version = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Run a version (without --version: the champion) again elsewhere and compare the digests."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.reproduce import reproduce

        return reproduce.fn(name, version)

    run_verb(call, as_json=as_json, debug=debug)


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option("--prefect-port", help="Port of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", help="Port of MLflow's page.")] = 5000,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Start Prefect, MLflow and the deployments on this machine, print the two addresses, and wait for Ctrl-C."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.up import up

        return up(Path.cwd(), prefect_port=prefect_port, mlflow_port=mlflow_port, say=_progress)

    run_verb(call, as_json=as_json, debug=debug)


def _hand_over_to_the_code_of_this_folder() -> None:
    """In a second clone or a worktree its own code runs, whichever of them is installed: a run records its commit."""
    here, paths = Path.cwd(), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = here / "graftline"
    if paths[0] == str(here) or not own.is_dir() or own.samefile(Path(graftline.__file__).parent):
        return
    from graftline.tasks.reproduction import command_line_of

    if module := command_line_of(here):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), *paths]))
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606 - no shell


def run_verb(call: Callable[[], dict[str, JsonValue]], *, as_json: bool, debug: bool) -> None:
    """Run a verb, print its result's summary or all of it as JSON, and make an error one sentence and an exit code."""
    try:
        result = call()
    except GraftlineError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code, as_json)
    except Exception as error:  # the outermost edge: whatever it was, the user gets one sentence
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; --debug shows where", 1, as_json)
    else:
        print(json.dumps(result, ensure_ascii=False) if as_json else result["summary"])


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _fail(message: str, exit_code: int, as_json: bool) -> None:
    print(f"graftline: {' '.join(message.split())}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=False))
    raise typer.Exit(exit_code)
