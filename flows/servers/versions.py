"""Whether the servers' releases fit those that are installed here."""

import importlib.metadata
import json
import urllib.error
import urllib.request
from http.client import HTTPException

from prefect.client.orchestration import get_client

from graftline.errors import SettingsError
from graftline.tasks.tracking.addresses import authorization
from graftline.tasks.tracking.server import tracking_uri
from graftline.tasks.workspace import Workspace

REQUEST_SECONDS = 10


def differing_versions(workspace: Workspace) -> list[str]:
    """A sentence for each server of another minor release than the client's; they mostly understand each other.

    Raises: SettingsError for one of another major release, or an older one than the client's: its database or its
    answers lack what the client asks for.
    """
    with get_client(sync_client=True) as client:
        asked = [("Prefect", "prefect", str(client.api_version()))]
    if (address := tracking_uri(workspace)).startswith("http"):
        asked += [("MLflow", "mlflow", found)] if (found := _tracking_version(address)) else []
    said = (_difference(title, package, there) for title, package, there in asked)
    return [sentence for sentence in said if sentence]


def _difference(title: str, package: str, there: str) -> str | None:
    here = importlib.metadata.version(package)
    ours, theirs = _release(here), _release(there)
    if not theirs or ours == theirs:
        return None
    if ours[0] != theirs[0] or theirs < ours:
        raise SettingsError(
            f"{title}: the server is release {there}, installed here is {here}; install {package}=={there} here, or"
            f" bring the server to {here} (and its database: `{_UPGRADE[package]}`)"
        )
    return f"{title}: the server is release {there}, installed here is {here}; give both the same when you can"


_UPGRADE = {"prefect": "prefect server database upgrade", "mlflow": "mlflow db upgrade ADDRESS"}


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number; empty if it is none."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _tracking_version(address: str) -> str | None:
    """What an MLflow server says of itself; None where a proxy does not hand on the question."""
    asked = urllib.request.Request(f"{address.rstrip('/')}/version", headers=authorization())  # noqa: S310 - http(s)
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS) as page:  # noqa: S310
            said = page.read(100).decode(errors="replace").strip()
    except (OSError, HTTPException, urllib.error.URLError):
        return None
    return str(json.loads(said)) if said.startswith('"') else said
