"""Telling people: by Prefect's notification blocks, which hold the addresses and secrets."""

import logging
from pathlib import Path
from typing import Any

import httpx

from graftline.errors import GraftlineError
from graftline.settings.notifications import NOTIFICATIONS, Occasion, read_notifications
from graftline.tasks.tracking.addresses import without_passwords

SUBJECTS: dict[Occasion, str] = {
    "verdict": "verdict",
    "waiting_approval": "waits for approval",
    "failure": "failed",
    "alarm": "alarm",
    "champion_moved": "champion moved past the gate",
}

logger = logging.getLogger("graftline.notifications")


def notify(occasion: Occasion, about: str, body: str) -> list[str]:
    """Send a message to every block that is named for the occasion. Returns: the blocks that took it.

    A message that cannot be sent is said in the log; no run fails for it.
    """
    try:
        blocks = read_notifications(Path(NOTIFICATIONS)).of(occasion)
    except GraftlineError as error:
        logger.warning("nobody was told of %s: %s", about, error)
        return []
    # What a library says of a failure may hold the address that it asked.
    return [block for block in blocks if _sent(block, f"{about}: {SUBJECTS[occasion]}", without_passwords(body))]


def tell_failure(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect passes them by name
    """A hook of Prefect's for flows that failed or crashed."""
    notify("failure", str(flow_run.name), str(state.message or "no message; see the run's page"))


def _sent(block: str, subject: str, body: str) -> bool:
    from prefect.blocks.abstract import NotificationBlock, NotificationError
    from prefect.blocks.core import Block

    try:
        loaded = Block.load(block)
        if not isinstance(loaded, NotificationBlock):
            logger.warning("%s: is no block that sends messages; name another in %s", block, NOTIFICATIONS)
            return False
        with loaded.raise_on_failure():
            loaded.notify(body, subject)  # type: ignore[unused-coroutine]  # outside of an event loop it is none
    except (ValueError, NotificationError, httpx.HTTPError, OSError) as error:
        # Without the error's text: an address may hold a secret.
        logger.warning("%s: could not be told of %s (%s)", block, subject, type(error).__name__)
        return False
    return True
