"""The command line: `graftline VERB`, each verb a function of the same name."""

import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

import graftline
from graftline.flows.commands import line, loop, project, registry, rows, servers

# In the order in which `--help` shows them.
VERBS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Begin": (project.init, line.check, line.plan, line.rank, line.distance, project.settings),
    "Adapt": (line.adapt, line.search, line.reproduce),
    "New rows": (rows.quarantine, rows.feedback, rows.labels),
    "Set up": (project.lock, project.convert, project.up, project.gc, registry.move_history),
    "Use": (registry.serve, registry.predict, registry.compare, registry.export, registry.models),
    "Watch": (loop.watch, loop.react),
    "Registered models": (
        registry.promote,
        registry.approve,
        registry.override,
        registry.rollback,
        registry.history,
        registry.attend,
        registry.bundle,
        registry.verify,
    ),
    "A team's servers": (servers.team, servers.deploy, servers.runs, servers.cancel, servers.restart),
}

# No tool of the chain may report to its makers unless the user asked for it.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# What its tools tell and draw about their own doings is not what a user wants to read.
QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# Prefect gives its temporary server 20 seconds to start, which a busy machine with two cores may exceed. For one that
# is away each step waits itself; a minute for each word that Prefect has for it only comes on top.
PATIENCE = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180", "PREFECT_CLIENT_MAX_RETRIES": "2"}

EXIT_CODES = (
    "Exit codes: 0 done, whatever the verdict; 2 settings or arguments, 3 data, 4 base model, 5 a reproduction differs,"
    " 6 registry, 7 a server is away, 8 no room on the disk or in the memory, 9 a bundle does not hold, 143 (or 130)"
    " stopped by a signal, 1 anything else. After 7, 8, 143 and 130 the same command goes on where it stopped."
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"graftline {importlib.metadata.version('graftline')}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)
for panel, verbs in VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Adapt a pre-trained model to your own data, prove that it is better, and move it into production."""


def main() -> None:
    # A bundle may have come with a folder of code that would say of it whatever its sender likes.
    if sys.argv[1:2] != [registry.verify.__name__]:
        _hand_over_to_the_code_of_this_folder()
    for name, value in (TELEMETRY_OFF | QUIET | PATIENCE).items():
        os.environ.setdefault(name, value)
    app(prog_name="graftline")


def _hand_over_to_the_code_of_this_folder() -> None:
    """In a second clone or a worktree its own code runs, whichever of them is installed: a run records its commit."""
    here, paths = Path.cwd(), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = here / "graftline"
    if paths[0] == str(here) or not own.is_dir() or own.samefile(Path(graftline.__file__).parent):
        return
    from graftline.tasks.own_code import command_line_of

    if module := command_line_of(here):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), *paths]))
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606 - no shell
