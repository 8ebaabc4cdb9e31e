"""Giving a registered model its previous champion back."""

from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.form_fields import Reason
from graftline.flows.move_result import move_result
from graftline.flows.run_page import of_move, told
from graftline.tasks.registry import promotion
from graftline.tasks.workspace import Workspace


@flow(name="rollback", flow_run_name="rollback {name}", persist_result=False)
@told(of_move)
def rollback(name: str, reason: Reason) -> dict[str, JsonValue]:
    """Move the alias `champion` back to the champion before, and record who, when and why.

    Args:
        name: The registered model.
        reason: Why. It stands in the history.
    """
    with show_progress():
        record = promotion.rollback(Workspace(Path.cwd()), name, reason)
    return move_result(name, record)
