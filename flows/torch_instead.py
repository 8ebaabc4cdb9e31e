"""What was begun with the runtime that `auto` had come to goes on with PyTorch where that runs a model differently."""

import functools
import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

from graftline.errors import RuntimeUnfitError
from graftline.settings import Settings
from graftline.tasks.steps.choose_runtime import AUTO, reason

P = ParamSpec("P")
Value = TypeVar("Value")

logger = logging.getLogger("graftline.choose_runtime")


def torch_instead(
    telling: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Callable[[Callable[P, Value]], Callable[P, Value]]:
    """Have a verb with an argument `settings` begin again with PyTorch where its runtime proves unfit after all.

    What `auto` comes to was compared on rows of the base model (tasks/steps/choose_runtime.py). A run also computes
    what is not there yet by then: with weights that went on learning, or for rows of another source. Each of these is
    compared once more where it is computed, before anything is kept, and a difference is no reason to end a run that
    left the runtime open. It is then that of `adaptation.runtime: torch`, and is recorded as such. Its line is logged
    inside of `telling`: where a verb shows lines only while it works, they go nowhere in between.
    """

    def deciding(verb: Callable[P, Value]) -> Callable[P, Value]:
        @functools.wraps(verb)
        def called(*arguments: P.args, **named: P.kwargs) -> Value:
            try:
                return verb(*arguments, **named)
            except RuntimeUnfitError as error:
                given = inspect.signature(verb).bind(*arguments, **named)
                settings: Settings = given.arguments["settings"]
                if settings.adaptation.runtime != AUTO:
                    raise
                with telling():
                    logger.info("runtime: torch from here on, for %s", reason(error))
            plain = settings.adaptation.model_copy(update={"runtime": "torch"})
            given.arguments["settings"] = settings.model_copy(update={"adaptation": plain})
            return verb(*given.args, **given.kwargs)

        return called

    return deciding
