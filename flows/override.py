"""Making a version its model's champion against the gate's verdict, by a person's word that stands in the history."""

from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.form_fields import Despite, Reason, Version
from graftline.flows.move_result import move_result
from graftline.flows.run_page import of_move, told
from graftline.tasks.registry import promotion
from graftline.tasks.workspace import Workspace


@flow(name="override", flow_run_name="override {name}", persist_result=False)
@told(of_move)
def override(name: str, version: Version, reason: Reason, despite: Despite = None) -> dict[str, JsonValue]:
    """Move the alias `champion` to a version whose verdict is HOLD or REJECT, with who, when, why.

    Args:
        name: The registered model.
        version: The version that shall answer from now on.
        reason: Why it shall, although the gate held or rejected it. It stands in the history.
        despite: modified-data where the version's data bar it, since they differ from what the data's .dvc file names.
    """
    with show_progress():
        record = promotion.override(Workspace(Path.cwd()), name, version, reason, despite)
    return move_result(name, record)
