"""The machine and the installation that a run's result rests on, found without importing what is installed."""

import os
import sys
from pathlib import Path

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.digests import json_sha256
from graftline.tasks.own_code import PACKAGE
from graftline.tasks.state.shared import shared_state
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.provenance import processor
from graftline.tasks.tracking.server import tracking_uri
from graftline.tasks.workspace import Workspace

# The folders in which installed packages lie, besides those that PYTHONPATH names.
INSTALLED_IN = ("site-packages", "dist-packages")


def surroundings(workspace: Workspace) -> dict[str, JsonValue]:
    """Everything beside the files and the registry; none of it is secret."""
    return {
        "project": str(workspace.root),
        "graftline": str(PACKAGE),
        "python": sys.version,
        "libraries": _libraries_sha256(),
        "processor": processor(),
        "threads": thread_count(0),
        "registry": without_password(tracking_uri(workspace)),
        "state": state.address if (state := shared_state()) else None,
    }


def _libraries_sha256() -> str:
    """Over the names of all installed packages, which hold their versions, in the order in which Python finds them."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = [place for place in sys.path if Path(place).name in INSTALLED_IN or place in named]
    return json_sha256([found for place in dict.fromkeys(filter(None, places)) if (found := _packages_in(place))])


def _packages_in(place: str) -> list[JsonValue]:
    folder = Path(place)
    found = folder.iterdir() if folder.is_dir() else iter(())
    return [name for name in sorted(path.name for path in found) if name.endswith((".dist-info", ".egg-info"))]
