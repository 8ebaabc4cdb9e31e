"""Making a version of a registered model that passed the gate its champion."""

from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.form_fields import Reason, VersionOrChallenger
from graftline.flows.move_result import move_result
from graftline.flows.run_page import of_move, told
from graftline.tasks.registry import promotion, sending
from graftline.tasks.workspace import Workspace


@flow(name="promote", flow_run_name="promote {name}", persist_result=False)
@told(of_move)
def promote(name: str, version: VersionOrChallenger = None, *, reason: Reason) -> dict[str, JsonValue]:
    """Move the alias `champion` to a version whose verdict is PROMOTE, with who, when, why.

    Args:
        name: The registered model.
        version: The version that shall answer from now on. What the gate held or rejected takes `override`.
        reason: Why it shall. It stands in the history.
    """
    with show_progress():
        record = promotion.promote(Workspace(Path.cwd()), name, version, reason)
    return move_result(name, record)


def promote_to(
    name: str, version: int | None, reason: str, *, registry: str, state: str | None
) -> dict[str, JsonValue]:
    """Bring a version that passed the gate here to another registry, and make it champion there.

    A plain function: who may write there is who has that registry's password.
    """
    with show_progress():
        record = sending.promote_to(Workspace(Path.cwd()), name, version, reason, registry=registry, state=state)
    return move_result(name, record)
