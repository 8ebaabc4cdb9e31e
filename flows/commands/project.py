"""The verbs that set a project up: its settings, its base model and its servers."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from graftline.flows.commands.options import AsJson, Assignments, Debug, Params
from graftline.flows.commands.running import ask_in_terminal, run_verb, say


def init(
    data: Annotated[
        str | None, typer.Option("--data", help="The table, or the folder of class folders, wherever it lies.")
    ] = None,
    input: Annotated[str | None, typer.Option("--input", help="The column that the model reads.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="The column that it learns to predict.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="text, image or audio.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="single_label, multi_label or regression.")] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="Its address, such as hf:ORG/NAME@REVISION or path:FOLDER.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The name that versions are registered under.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The project of the film reviews, with its data.")] = False,
    untrack: Annotated[
        bool, typer.Option("--untrack", help="Let git forget data that it tracks; the files stay.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a project here from your own data: settings, policy, data version, locks. Overwrites nothing."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.init import init
        from graftline.tasks.projects.questions import Wishes

        wishes = Wishes(data, input, target, kind, task, base_model, model)
        ask = ask_in_terminal if sys.stdin.isatty() and not as_json else None
        return init(Path.cwd(), wishes, say=say, ask=ask, demo=demo, untrack_data=untrack)

    run_verb(call, as_json=as_json, debug=debug)


def settings(
    key: Annotated[str | None, typer.Argument(help="A section (adaptation) or a setting (adaptation.epochs).")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain every setting, or those of a section, or one: its type, range, default and meaning."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.settings import settings

        return settings(key)

    run_verb(call, as_json=as_json, debug=debug)


def lock(
    params: Params = Path("params.yaml"), assignments: Assignments = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Pin the base model, and the teacher if there is one: write files, sizes and digests into base_models.lock."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings

        settings = read_settings(params, assignments)  # first: a typo need not wait for what is heavy
        from graftline.flows.lock import lock

        return lock(settings, Path.cwd())

    run_verb(call, as_json=as_json, debug=debug)


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


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    keep_rejected: Annotated[
        int,
        typer.Option("--keep-rejected", min=0, help="How many versions that were held or rejected stay, per model."),
    ] = 5,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Free the disk of what no version, no run and no repetition of one needs."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.gc import gc

        return gc(Path.cwd(), dry_run=dry_run, keep_rejected=keep_rejected)

    run_verb(call, as_json=as_json, debug=debug)


def up(
    prefect_port: Annotated[int, typer.Option("--prefect-port", help="Port of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", help="Port of MLflow's page.")] = 5000,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Start Prefect, MLflow and the deployments on this machine, print the two addresses, and wait for Ctrl-C."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.up import up

        return up(Path.cwd(), prefect_port=prefect_port, mlflow_port=mlflow_port, say=say)

    run_verb(call, as_json=as_json, debug=debug)
