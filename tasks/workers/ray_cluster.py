"""The Ray cluster of a run: one that is there, or one of its own on this machine."""

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from graftline.errors import ServerAwayError, SettingsError, Stopped
from graftline.settings.compute import COMPUTE, Compute
from graftline.tasks.scratch import temporary_folder
from graftline.tasks.stopping import hear
from graftline.wording import ERROR_CHARACTERS, shortened

ADDRESS = "RAY_ADDRESS"
CONNECT_SECONDS, LOOK_SECONDS = 5.0, 0.1
# Ray's servers run code of whoever reaches them and knows the token. A cluster of our own listens at the loopback
# address alone, which Ray does where this is 0 when it is imported, and has a token that nobody else is told: without
# one Ray writes one into the home folder.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
TOKEN_MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
# No reports to Ray's makers, and no word of errors that this process tells itself.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}


def require_cluster(compute: Compute) -> None:
    """Raises: SettingsError if Ray is not installed; ServerAwayError if nobody listens where the cluster should be."""
    if find_spec("ray") is None:
        raise SettingsError(
            f"{COMPUTE}: engine ray, and Ray is not installed here; install Graftline with the extra ray (pip install"
            " 'graftline[ray]'), or set engine to local"
        )
    if (address := address_of(compute)) is None:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ServerAwayError(_away(address, str(error))) from None


def address_of(compute: Compute) -> str | None:
    """Where the cluster is; None: one of our own. Raises: SettingsError if the environment names no such place."""
    if compute.address is not None:
        return compute.address
    named = os.environ.get(ADDRESS, "").strip()
    if named in ("", "local"):
        return None
    try:
        return Compute(engine="ray", address=named).address
    except ValidationError:
        raise SettingsError(
            f"{ADDRESS} in the environment is {named!r}, expected HOST:PORT of the cluster, as `ray start --head`"
            f" prints it; correct it, or set address in {COMPUTE}"
        ) from None


@contextmanager
def connected(compute: Compute) -> Iterator[Any]:
    """Ray, connected to the cluster. What was begun here ends with the block, and a cluster of our own, too.

    Raises: ServerAwayError if there is no cluster, or this machine does not belong to it; SettingsError if it has
    another Ray or Python.
    """
    os.environ.update(QUIET)
    if (address := address_of(compute)) is not None:
        with _connected(address, None) as ray:
            yield ray
        return
    os.environ.update(LOOPBACK)
    if TOKEN_MODE not in os.environ:
        os.environ.update({TOKEN_MODE: "token", TOKEN: secrets.token_hex(32)})
    with temporary_folder() as folder, _connected(None, folder) as ray:
        yield ray


@contextmanager
def _connected(address: str | None, folder: Path | None) -> Iterator[Any]:
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    # In the main thread Ray would put a handler of SIGTERM in the place of ours. The thread stays: a cluster of our own
    # ends with the thread that began it.
    with ThreadPoolExecutor(1, "ray") as aside:
        beginning = aside.submit(_begin, ray, address, folder)
        try:
            _until_begun(beginning)
            beginning.result()
            yield ray
        except Stopped:
            hear()  # nothing interrupts what follows
            signal.alarm(0)  # by which Ray's core aborts three seconds after a signal that it heard first
            raise
        finally:
            _until_begun(beginning)  # whoever stops meanwhile must not end it half begun
            ray.shutdown()


def _until_begun(beginning: "Future[None]") -> None:
    """Let Python hear SIGTERM all the while and afterwards, which Ray's core takes for a crash of its own."""
    handler = signal.getsignal(signal.SIGTERM)
    is_begun = False
    while not is_begun:
        is_begun = not wait([beginning], LOOK_SECONDS).not_done
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _begin(ray: Any, address: str | None, folder: Path | None) -> None:
    quiet = {"log_to_driver": False, "configure_logging": False}
    if address is None:
        # "local": not a cluster that somebody else has begun on this machine.
        ray.init(address="local", include_dashboard=False, _temp_dir=str(folder), **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise ServerAwayError(_away(address, _in_a_line(error))) from None
    except RuntimeError as error:
        raise SettingsError(
            f"{COMPUTE}: the Ray cluster at {address} cannot be used from here ({_in_a_line(error)}); it needs the"
            " versions of Ray and Python that this machine has, and to run `ray start` on this machine, too"
        ) from None


def _away(address: str, why: str) -> str:
    return (
        f"{COMPUTE}: no Ray cluster answers at {address} ({why}); start it with `ray start --head --port PORT`, correct"
        " the address, or set engine to local"
    )


def _in_a_line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
