"""Addresses of servers: how they are shown, and the credentials that a request needs, which are never shown."""

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

# What stands before the @ of the host; a slash in it, which should be written %2F, does not make a password visible.
CREDENTIALS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/]*|[^/:]*:(?!\d*/).*)@")
IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@]+@")
USERNAME, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"


def without_password(address: str) -> str:
    """An address without what stands before its @: as every message, page and record shows it."""
    return CREDENTIALS.sub(r"\1", address)


def without_passwords(text: str) -> str:
    """A text without what stands before the @ of any address in it, such as a library's error."""
    return IN_TEXT.sub(r"\1", text)


def password_in(address: str) -> tuple[str, str] | None:
    """The name and the password that an address holds, if any."""
    found = CREDENTIALS.match(address)
    if not found:
        return None
    name, _, password = found[2].partition(":")
    return unquote(name), unquote(password)


def credentials() -> Mapping[str, str]:
    """What MLflow's server is asked with, by the variables that MLflow reads: those in its address go first."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http") and (held := password_in(address)):
        return {USERNAME: held[0], PASSWORD: held[1]}
    return {name: value for name in (USERNAME, PASSWORD, TOKEN) if (value := os.environ.get(name))}


def authorization() -> dict[str, str]:
    """The header that MLflow's client would send."""
    known = credentials()
    if USERNAME in known and PASSWORD in known:
        return {"Authorization": f"Basic {as_basic(f'{known[USERNAME]}:{known[PASSWORD]}')}"}
    return {"Authorization": f"Bearer {known[TOKEN]}"} if TOKEN in known else {}


def as_basic(name_and_password: str) -> str:
    """As the header of basic authentication has it."""
    return base64.standard_b64encode(name_and_password.encode()).decode()
