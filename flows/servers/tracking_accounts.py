"""The accounts of an MLflow server that asks for a password: the workers' own, which is no administrator."""

import json
import urllib.error
import urllib.request

from graftline.errors import GraftlineError
from graftline.tasks.tracking.addresses import as_basic

ADMIN, WORKER = "admin", "worker"
REQUEST_SECONDS = 30
THERE_ALREADY = "RESOURCE_ALREADY_EXISTS"


def add_account(page: str, admin_password: str, name: str, password: str) -> None:
    """Make an account, unless it is there. Raises: GraftlineError if MLflow refuses."""
    asked = urllib.request.Request(  # noqa: S310 - our own address
        f"{page}/api/2.0/mlflow/users/create",
        data=json.dumps({"username": name, "password": password}).encode(),
        headers={
            "Authorization": f"Basic {as_basic(f'{ADMIN}:{admin_password}')}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as refused:
        said = refused.read().decode(errors="replace")
        if THERE_ALREADY not in said:
            raise GraftlineError(f"MLflow refused to make the account {name} (status {refused.code})") from None
