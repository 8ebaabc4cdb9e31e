"""Running a verb: its result on standard output, an error as one sentence with an exit code."""

import json
import signal
import sys
from collections.abc import Callable, Sequence

import typer
from pydantic import JsonValue

from graftline.errors import GraftlineError, Stopped
from graftline.tasks.outside_faults import told_in_a_sentence
from graftline.tasks.stopping import asked, hear, stoppable


def run_verb(call: Callable[[], dict[str, JsonValue]], *, as_json: bool, debug: bool) -> None:
    """Run a verb, print its result's summary or all of it as JSON, and make an error one sentence and an exit code."""
    try:
        with stoppable(lambda stopped: _tell(_sentence_of(stopped), stopped.exit_code, as_json)):
            result = _until_stopped(call)
    except Stopped as stopped:
        _fail(_sentence_of(stopped), stopped.exit_code, as_json)
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


def _until_stopped(call: Callable[[], dict[str, JsonValue]]) -> dict[str, JsonValue]:
    """What the verb gives. Raises: Stopped, whatever it, or an orchestrator, has made of being asked to stop."""
    try:
        with told_in_a_sentence():
            return call()
    except BaseException:
        hear()
        if (number := asked()) is not None:
            raise Stopped(number) from None
        raise


def _sentence_of(stopped: Stopped) -> str:
    return f"stopped by {signal.Signals(stopped.number).name}; what was done is kept: start the same again to go on"


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
    _tell(sentence, exit_code, as_json, causes=causes)
    raise typer.Exit(exit_code)


def _tell(sentence: str, exit_code: int, as_json: bool, *, causes: Sequence[str] = ()) -> None:
    said = [f"graftline: {_in_one_line(sentence)}", *(f"  - {_in_one_line(cause)}" for cause in causes)]
    print("\n".join(said), file=sys.stderr)
    if as_json:
        message = "\n".join([sentence, *(f"  - {cause}" for cause in causes)])
        print(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=False))


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
