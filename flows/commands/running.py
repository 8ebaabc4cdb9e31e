"""Running a verb: its result on standard output, an error as one sentence with an exit code."""

import json
import sys
from collections.abc import Callable, Sequence

import typer
from pydantic import JsonValue

from graftline.errors import GraftlineError


def run_verb(call: Callable[[], dict[str, JsonValue]], *, as_json: bool, debug: bool) -> None:
    """Run a verb, print its result's summary or all of it as JSON, and make an error one sentence and an exit code."""
    try:
        result = call()
    except GraftlineError as error:
        if debug:
            raise
        _fail(error.sentence, error.exit_code, as_json, causes=error.causes)
    except Exception as error:  # the outermost edge: whatever it was, the user gets one sentence
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; --debug shows where", 1, as_json)
    else:
        print(json.dumps(result, ensure_ascii=False) if as_json else result["summary"])
        # A verb that only looks says by it what it found.
        if exit_code := result.get("exit_code"):
            raise typer.Exit(int(str(exit_code)))


def say(message: str) -> None:
    """A line about progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def ask_in_terminal(question: str, proposed: str | None, among: Sequence[str]) -> str:
    """What a person answers; Enter takes what is proposed."""
    from graftline.pages.text import spelt_out

    choice = f" ({', '.join(spelt_out(one) for one in among)})" if len(among) > 1 else ""
    default = "" if proposed is None else f" [{spelt_out(proposed)}]"
    return str(typer.prompt(f"{question}{choice}{default}", default=proposed, show_default=False, err=True))


def _fail(sentence: str, exit_code: int, as_json: bool, *, causes: Sequence[str] = ()) -> None:
    said = [f"graftline: {_in_one_line(sentence)}", *(f"  - {_in_one_line(cause)}" for cause in causes)]
    print("\n".join(said), file=sys.stderr)
    if as_json:
        message = "\n".join([sentence, *(f"  - {cause}" for cause in causes)])
        print(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=False))
    raise typer.Exit(exit_code)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
