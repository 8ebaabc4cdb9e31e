"""The same as stored_model.py, asked of an MLflow server by plain requests."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from graftline.tasks.tracking.addresses import authorization
from graftline.tasks.tracking.stored_model import StoredModel, StoredVersion

CREDENTIALS_FILE = "~/.mlflow/credentials"
TIMEOUT_SECONDS = 5
# More versions would come on several pages.
PAGE = 1000


def served_model(uri: str, model: str) -> StoredModel | None:
    """As `stored_model`."""
    try:
        registered = _ask(uri, "registered-models/get", name=model)["registered_model"]
        found = _ask(uri, "model-versions/search", filter=f"name='{model}'", max_results=PAGE)
        if found.get("next_page_token"):
            return None
        versions = [
            StoredVersion(
                str(one["version"]), one.get("run_id", ""), int(one["creation_timestamp"]), _named(one, "tags", "key")
            )
            for one in found.get("model_versions", [])
        ]
        aliases = {name: int(version) for name, version in _named(registered, "aliases", "alias", "version").items()}
        return StoredModel(aliases, _named(registered, "tags", "key"), {int(one.version): one for one in versions})
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return None


def served_run(uri: str, run_id: str) -> list[str] | None:
    """As `stored_run`."""
    try:
        info = _ask(uri, "runs/get", run_id=run_id)["run"]["info"]
        return [str(info["status"]), str(info["lifecycle_stage"])]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None


def served_location(uri: str, model: str, number: int) -> str | None:
    """As `stored_location`."""
    try:
        return str(_ask(uri, "model-versions/get-download-uri", name=model, version=str(number))["artifact_uri"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials are for the server that was named."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _ask(uri: str, what: str, **question: str | int) -> dict[str, Any]:
    """The answer of MLflow's API. Raises: ValueError where MLflow would find credentials in some other place."""
    if Path(CREDENTIALS_FILE).expanduser().exists():
        raise ValueError("credentials in a file")
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/{what}?{urlencode(question)}"
    request = urllib.request.Request(address, headers=authorization())  # noqa: S310 - http(s) was checked
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS) as answer:
        value: dict[str, Any] = json.load(answer)
        return value


def _named(answer: dict[str, Any], what: str, key: str, value: str = "value") -> dict[str, str]:
    return {one[key]: one.get(value, "") for one in answer.get(what, [])}
