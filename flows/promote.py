"""Making a version of a registered model that passed the gate its champion."""

from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.move_result import move_result
from graftline.tasks.registry import promotion
from graftline.tasks.workspace import Workspace


@flow(name="promote", persist_result=False)
def promote(name: str, version: int | None = None, reason: str = "promoted by hand") -> dict[str, JsonValue]:
    """Move the alias `champion` to a version whose verdict is PROMOTE, with who, when, why.

    Args:
        name: The registered model.
        version: The version that shall answer from now on; empty for the challenger. What the gate held or rejected
            takes `override`.
        reason: Why it shall. It stands in the history.
    """
    with show_progress():
        record = promotion.promote(Workspace(Path.cwd()), name, version, reason)
    return move_result(name, record)
