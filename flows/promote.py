"""Making a version of a registered model that passed the gate its champion."""

from dataclasses import asdict
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from flows.console import show_progress
from tasks import promotion
from tasks.artifacts import Workspace


@flow(name="promote", persist_result=False)
def promote(name: str, version: int | None = None, reason: str = "promoted by hand") -> dict[str, JsonValue]:
    """Move the alias `champion` of model `name` to `version` (empty: to the challenger), with who, when, why.

    Its verdict must be PROMOTE; what the gate held or rejected takes `override`.
    """
    with show_progress():
        record = promotion.promote(Workspace(Path.cwd()), name, version, reason)
    return {"model": name, **asdict(record)}
