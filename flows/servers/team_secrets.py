"""The passwords of a team's servers on one machine: made once, kept in one file that only its owner can read."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

SECRET_BYTES = 32
OWNER_ONLY = 0o600


@dataclass(frozen=True)
class TeamSecrets:
    """What the servers ask each other and everybody else for."""

    prefect: str
    """Of Prefect's API, by name and password."""
    tracking_admin: str
    """Of MLflow's account `admin`, which gives rights to others."""
    tracking_worker: str
    """Of MLflow's account `worker`, which workers log and register with."""
    postgres: str
    s3_key: str
    s3_secret: str
    cookies: str
    """What MLflow signs its pages' forms with."""


def kept_secrets(file: Path) -> TeamSecrets:
    """Those in the file, which is made at the first start: other machines know them, so they stay."""
    if file.exists():
        return TeamSecrets(**json.loads(file.read_text(encoding="utf-8")))
    made = TeamSecrets(f"graftline:{_new()}", *(_new() for _ in range(6)))
    write_secretly(file, json.dumps(asdict(made)))
    return made


def write_secretly(file: Path, text: str) -> None:
    """Write a file that only its owner can read, from the first byte on."""
    draft = file.with_name(f".{file.name}.draft")
    draft.unlink(missing_ok=True)  # its mode counts only where a file is made
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w") as opened:
        opened.write(text)
    draft.replace(file)


def _new() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
