"""Where the rows of a version came from that a command made: a line for each version, beside its .dvc file in git.

The data's own columns stay as the user made them. What was said or shown in an input does not stand here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from graftline.files import write_atomically
from graftline.tasks.workspace import Workspace


@dataclass(frozen=True)
class Origin:
    """How one version came from the one before it."""

    version: str
    before: str
    command: str
    """quarantine, feedback or labels."""
    rows: Mapping[str, int]
    """How many were added, changed and removed."""
    chosen: str
    """How the rows were chosen, in words."""
    each: Sequence[Mapping[str, JsonValue]]
    """Of each new or changed row its name and where it came from."""
    by: str
    time: str = ""


def origins_file(root: Path, folder: str) -> Path:
    """data_origins.jsonl of data/."""
    return root / f"{folder}_origins.jsonl"


def note_origin(root: Path, folder: str, origin: Origin) -> None:
    """Add a line, or replace the one of the same version."""
    path = origins_file(root, folder)
    lines = [line for line in _lines(path) if _version_of(line) != origin.version]
    stamped = {**asdict(origin), "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    lines.append(json.dumps(stamped, ensure_ascii=False, sort_keys=True))
    write_atomically(path, "\n".join(lines) + "\n")


def said_of(workspace: Workspace, folder: str, version: str) -> str | None:
    """One line about how a version was made, if a command made it."""
    for line in _lines(origins_file(workspace.root, folder)):
        if _version_of(line) == version:
            known = json.loads(line)
            rows = ", ".join(f"{count} {what}" for what, count in known["rows"].items() if count)
            return f"{known['command']}: {rows} since {known['before']}; {known['chosen']}"
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _version_of(line: str) -> str | None:
    """Of a line that a merge of git has spoilt None: what it says is for people."""
    try:
        known = json.loads(line)
    except ValueError:
        return None
    return known.get("version") if isinstance(known, dict) and "rows" in known else None
