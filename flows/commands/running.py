"""Running a verb: its result on standard output, an error as one sentence with an exit code."""

import json
import sys
from collections.abc import Callable

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
        _fail(str(error), error.exit_code, as_json)
    except Exception as error:  # the outermost edge: whatever it was, the user gets one sentence
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; --debug shows where", 1, as_json)
    else:
        print(json.dumps(result, ensure_ascii=False) if as_json else result["summary"])


def say(message: str) -> None:
    """A line about progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def _fail(message: str, exit_code: int, as_json: bool) -> None:
    print(f"graftline: {' '.join(message.split())}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=False))
    raise typer.Exit(exit_code)
