"""`graftline attend`: what people ask on the registry's own page is answered there; what goes past the gate is told."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import GraftlineError
from graftline.flows.servers.services import StopRequested, stop_signal
from graftline.tasks.registry.requests import Seen, look_at
from graftline.tasks.workspace import Workspace

# Whoever asked looks at the page again; a minute would feel broken, and a look costs a request or two.
LOOK_SECONDS = 10.0

logger = logging.getLogger("graftline.attend")


def attend(names: Sequence[str], *, once: bool, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Look at each registered model again and again until someone says stop, or `once`.

    A server that is away, or a history that is broken, is said once and looked at again.
    """
    workspace, told = Workspace(Path.cwd()), dict[str, str | None]()
    answered: list[JsonValue] = []
    with stop_signal() as stop:
        try:
            while True:
                for name in names:
                    seen, fault = _looked(workspace, name)
                    if seen.answered:
                        say(f"{name}: {seen.answered}")
                        answered.append({"model": name, "answer": seen.answered})
                    news = fault or seen.moved
                    if news and news != told.get(name):
                        say(news)
                        if seen.moved:
                            _tell_moved(name, seen.moved)
                    told[name] = news
                if once:
                    break
                stop.pause(LOOK_SECONDS)
        except StopRequested:
            say("stopped")
    moved: list[JsonValue] = [news for news in told.values() if news]
    return {"answered": answered, "reported": moved, "summary": f"{len(answered)} requests answered"}


def _looked(workspace: Workspace, name: str) -> tuple[Seen, str | None]:
    try:
        return look_at(workspace, name), None
    except GraftlineError as error:
        return Seen(), str(error)


def _tell_moved(name: str, moved: str) -> None:
    # Whoever looks for weeks without finding anything need not have them in memory.
    from graftline.flows.events import MOVED, emit
    from graftline.flows.notifying import notify

    emit(MOVED, name, {"what": moved})
    notify("champion_moved", name, moved)
