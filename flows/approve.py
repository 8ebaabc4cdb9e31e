"""Answering a promotion that waits for a person's approval, where no page of Prefect asks for it."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.history import account
from graftline.tasks.registry.records import Answer
from graftline.tasks.workspace import Workspace


def approve(name: str, version: int, *, by: str | None, reason: str, reject: bool) -> dict[str, JsonValue]:
    """Record what `by` says to version `version` of model `name`; an approved one becomes champion.

    Without `by` it is the account by which this process signs in at the registry.
    A plain function: in Prefect the run that waits asks by itself.
    Raises: SettingsError if there is neither.
    """
    by = by or account()
    if by is None:
        raise SettingsError("--by: is missing, and the registry asks for no account that could be named; say your name")
    answer = Answer("reject" if reject else "approve", by, reason, datetime.now(UTC).isoformat(timespec="seconds"))
    record = promotion.answer_approval(Workspace(Path.cwd()), name, version, answer)
    return {"model": name, **asdict(record), "summary": f"{name} version {version}: {record.verdict}: {record.why}"}
