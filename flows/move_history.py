"""Bringing what a project folder decided to where its team decides."""

from pathlib import Path

from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.tasks.registry.moving import move_history as move
from graftline.tasks.workspace import Workspace


def move_history(name: str) -> dict[str, JsonValue]:
    """Move a model's runs, versions, aliases and records to MLFLOW_TRACKING_URI and GRAFTLINE_STATE, and verify them.

    A plain function: only a person in the project folder can want it.
    """
    with show_progress():
        moved = move(Workspace(Path.cwd()), name)
    summary = (
        f"{name}: {moved.proof.records} records, {moved.versions} versions and {moved.runs} runs are at"
        f" {moved.registry}, the history at {moved.state}; all of it verified there"
    )
    return {
        "model": name, "registry": moved.registry, "state": moved.state, "records": moved.proof.records,
        "versions": moved.versions, "runs": moved.runs, "summary": summary,
    }  # fmt: skip
