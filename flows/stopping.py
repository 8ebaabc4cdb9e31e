"""Being asked to stop while Prefect runs a flow: its own handler raises an exception, which can be lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import TerminationSignal
from prefect.utilities import engine

from graftline.errors import Stopped
from graftline.tasks.stopping import ask, looking, stoppable


@contextmanager
def prefect_looks() -> Iterator[None]:
    """Have Prefect's flows raise the flag that the steps look at, instead of an exception of its own.

    Prefect has no option for it. By the name of its handler it also tells whether a run can be cancelled from its page.
    """
    before = engine._prefect_sigterm_handler
    engine._prefect_sigterm_handler = ask  # type: ignore[assignment]
    try:
        with looking():
            yield
    finally:
        engine._prefect_sigterm_handler = before


@contextmanager
def stopped_as_prefect_does() -> Iterator[None]:
    """Inside a flow's function: tell Prefect in its own words that the run was stopped, for the state of its page.

    Raises: TerminationSignal or KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    outside = signal.getsignal(signal.SIGTERM)
    try:
        with prefect_looks(), stoppable():
            signal.signal(signal.SIGTERM, ask)  # Prefect's server started this process, with a handler of its own
            yield
    except Stopped as stopped:
        if stopped.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise TerminationSignal(stopped.number) from None
    finally:
        signal.signal(signal.SIGTERM, outside)
