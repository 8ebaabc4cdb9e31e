"""The verbs that read and decide about registered models."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import JsonValue

from graftline.errors import DataRefusedError, SettingsError
from graftline.flows.commands.options import AsJson, Assignments, Debug, Name, Params, Reason, Version
from graftline.flows.commands.running import run_verb, say


def promote(
    name: Name,
    version: Version = None,
    reason: Reason = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="REGISTRY", help="Bring it (without --version: the champion) to another MLflow."),
    ] = None,
    to_state: Annotated[
        str | None, typer.Option("--to-state", metavar="ADDRESS", help="Where the history of that registry lies.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a version that the gate lets pass (without --version: the challenger) the champion."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.promote import promote, promote_to

        why = reason or "promoted by hand"
        if (to is None) != (to_state is None):
            raise SettingsError("--to and --to-state belong together: a registry and where its history lies; name both")
        if to is not None:
            return promote_to(name, version, why, registry=to, state=to_state)
        # As a plain function: a temporary Prefect server would take longer than the work.
        return promote.fn(name, version, reason=why)

    run_verb(call, as_json=as_json, debug=debug)


def approve(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="The version that waits for approval.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the history.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Your name; otherwise that of your account at MLflow's server.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Approve (or reject) a promotion that waits for a person's word, as the form on Prefect's page does."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.approve import approve

        return approve(name, version, by=by, reason=reason, reject=reject)

    run_verb(call, as_json=as_json, debug=debug)


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


def rollback(name: Name, reason: Reason = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Give a model its previous champion back."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.rollback import rollback

        return rollback.fn(name, reason or "rolled back by hand")

    run_verb(call, as_json=as_json, debug=debug)


def history(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="Prove that nothing was changed outside of Graftline.")] = (
        False
    ),
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Add the number and digest of each new record to a file that a colleague keeps; with --verify compare"
            " with it.",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what was decided about a model: who, when, from, to, why."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.history import history, verified_history

        return verified_history(name, receipt) if verify else history(name, receipt)

    run_verb(call, as_json=as_json, debug=debug)


def bundle(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="The version of the model.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="The file to write; otherwise reports/NAME-VERSION.bundle.json.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Put a version's manifest, verdict, grounds and history into one signed file, for somebody else to verify."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.bundle import bundle

        return bundle(Path.cwd(), name, version, output)

    run_verb(call, as_json=as_json, debug=debug)


def verify(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", help="A public key that counts, its file or base64 text; may be said again."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="The folder of the model's files, which are compared, too.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check a bundle without project, registry or network, by keys that you trust. Ends with 9 if it does not hold."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.verify import verify

        return verify(file, keys or (), model)

    run_verb(call, as_json=as_json, debug=debug)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A version: 3, champion, NAME/3 or NAME@champion.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The version that is set beside it.")],
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare two versions on the rows that the project holds out now; changes nothing."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.compare import compare
        from graftline.settings import read_settings

        return compare(Path.cwd(), read_settings(params, assignments), first, second, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def export(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="3, champion, NAME/3 or NAME@champion.")
    ] = "champion",
    int8: Annotated[bool, typer.Option("--int8", help="Weights of 8 bits: faster, and often not the same.")] = False,
    least_equal: Annotated[
        float, typer.Option("--least-equal", min=0, max=1, help="The share of held-out rows with the same answer.")
    ] = 0.995,
    margin: Annotated[
        float, typer.Option("--margin", min=0, max=0.5, help="By how much a main score may be worse at most.")
    ] = 0.01,
    least_faster: Annotated[
        float, typer.Option("--least-faster", min=0, max=1000, help="How many times as fast a single row is answered.")
    ] = 1.1,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Export a version to ONNX; registered as NAME-onnx if it answers as the version does, and faster."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.export import export
        from graftline.settings import read_settings
        from graftline.tasks.steps.onnx_variant import Limits

        limits = Limits(least_equal, margin, least_faster)
        weights: Literal["float32", "int8"] = "int8" if int8 else "float32"
        return export(Path.cwd(), read_settings(params, assignments), version, weights=weights, limits=limits, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def predict(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A table, or a folder of pictures or sounds.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The table to write: .csv, .jsonl or .parquet.")],
    model: Annotated[
        str | None, typer.Option("--model", help="The registered model; without it registry.model of the settings.")
    ] = None,
    version: Annotated[int | None, typer.Option("--version", help="Its version; without it the champion.")] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Processor threads that answer each piece; 0: one per core.")
    ] = 0,
    runtime: Annotated[
        Literal["torch", "openvino"],
        typer.Option("--runtime", help="openvino is faster for texts on processors, and differs in the last digits."),
    ] = "torch",
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer every row of a table, or every file of a folder, with a registered model. Ends with 3 if rows were left
    without an answer; OUT says which and why."""
    unanswered = False

    def call() -> dict[str, JsonValue]:
        from graftline.flows.predict import predict
        from graftline.settings import read_settings

        nonlocal unanswered
        name = model or read_settings(params).registry.model
        result = predict(
            Path.cwd(), source, target, model=name, version=version, threads=threads, runtime=runtime, say=say
        )
        unanswered = result["rows"]["refused"] > 0  # type: ignore[index,call-overload,operator]  # a count
        return result

    run_verb(call, as_json=as_json, debug=debug)
    if unanswered:
        raise typer.Exit(DataRefusedError.exit_code)


def serve(
    name: Name,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 5001,
    version: Annotated[
        int | None, typer.Option("--version", help="Answer with this version, whatever happens in the registry.")
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option("--alias", help="Answer with the version that carries this alias now; without it, the champion."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at; others than this machine's own need a token.")
    ] = "127.0.0.1",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer requests with the champion, and with the next one as soon as the alias moves, until Ctrl-C."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.serve import serve

        return serve(Path.cwd(), name, version=version, alias=alias, host=host, port=port, say=say)

    run_verb(call, as_json=as_json, debug=debug)


def models(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the base models, those that installed packages bring, and the registered versions with their scores."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.models import models

        return models(Path.cwd())

    run_verb(call, as_json=as_json, debug=debug)


def move_history(name: Name, as_json: AsJson = False, debug: Debug = False) -> None:
    """Bring a model's registry and history from this folder to the servers that the environment names."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.move_history import move_history

        return move_history(name)

    run_verb(call, as_json=as_json, debug=debug)


def attend(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The registered models.")],
    once: Annotated[bool, typer.Option("--once", help="Look once, as from a scheduler.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer the alias promote-requested in MLflow, and report a champion that was moved outside of Graftline."""

    def call() -> dict[str, JsonValue]:
        from graftline.flows.attend import attend

        return attend(names, once=once, say=say)

    run_verb(call, as_json=as_json, debug=debug)
