"""Giving a registered model its previous champion back."""

from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.move_result import move_result
from graftline.tasks.registry import promotion
from graftline.tasks.workspace import Workspace


@flow(name="rollback", persist_result=False)
def rollback(name: str, reason: str = "rolled back by hand") -> dict[str, JsonValue]:
    """Move the alias `champion` back to the champion before, and record who, when and why.

    Args:
        name: The registered model.
        reason: Why. It stands in the history.
    """
    with show_progress():
        record = promotion.rollback(Workspace(Path.cwd()), name, reason)
    return move_result(name, record)
