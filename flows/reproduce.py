"""Repeating a registered version and comparing digests."""

import logging
import tempfile
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.tasks.reproduction import compare, original, repeat
from graftline.tasks.workspace import Workspace


@flow(name="reproduce", persist_result=False)
def reproduce(name: str, version: int | None = None) -> dict[str, JsonValue]:
    """Run version `version` of model `name` (empty: the champion) again in a scratch folder and compare the digests.

    Raises: ReproductionError naming where it first differs.
    """
    workspace = Workspace(Path.cwd())
    with show_progress(), tempfile.TemporaryDirectory(prefix="graftline-reproduce-") as scratch:
        made = original(workspace, name, version)
        repeated = repeat(workspace, made, Path(scratch) / "project")
        digests = compare(made, repeated)
    logging.getLogger("graftline").info("equal")
    lines = [f"{name} version {made.version}: reproduced, everything is equal"]
    lines += [f"{digest:<20} {value}" for digest, value in digests.items()]
    return {"model": name, "version": made.version, "equal": True, "digests": digests, "summary": "\n".join(lines)}
