"""Labels that a person has looked at, and let stand or gave: a line for each in git, so that nobody is asked twice.

An input stands there by its digest alone. Under another label it has not been looked at.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from graftline.data.row_names import normalised
from graftline.files import write_atomically
from graftline.tasks.registry.history import user

SUFFIX = "_labels.jsonl"


@dataclass(frozen=True)
class Standing:
    """A row whose label stands."""

    row: str
    input: str
    """Its digest."""
    label: str
    before: str | None = None
    """The label that it had, if a person gave it this one."""
    doubted: bool = True
    """Whether that label looked wrong: only such a look tells how often a doubt is right."""


@dataclass(frozen=True)
class LookedAt:
    """What people have said so far."""

    standing: frozenset[tuple[str, str]] = frozenset()
    """The digest of an input, and its label."""
    doubts: int = 0
    """How many doubts they have looked at,"""
    wrong: int = 0
    """and how many of those labels were wrong."""


def standing_file(root: Path, folder: str) -> Path:
    """data_labels.jsonl of data/."""
    return root / f"{folder}{SUFFIX}"


def input_digest(text: str) -> str:
    """By which a text is known: equal ones may differ in case and space. A file goes by its own SHA-256."""
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()


def looked_at(root: Path, folder: str) -> LookedAt:
    """All that people said. A line that a merge of git has spoilt is passed over: that row is asked again."""
    lines = map(_read, _lines(standing_file(root, folder)))
    # Two clones may have looked at one row: what is said last of an input and its label counts.
    known = {(str(one["input"]), str(one["label"])): one for one in lines if one is not None}
    looks = [one for one in known.values() if one.get("doubted")]
    return LookedAt(frozenset(known), len(looks), sum(one.get("before") is not None for one in looks))


def note_standing(root: Path, folder: str, rows: Sequence[Standing]) -> Path:
    """Add a line for each row. Returns: the file."""
    path = standing_file(root, folder)
    time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    told = [{**asdict(one), "by": user(), "time": time} for one in rows]
    new = (json.dumps(one, ensure_ascii=False, sort_keys=True) for one in told)
    write_atomically(path, "\n".join([*_lines(path), *new]) + "\n")
    return path


def _read(line: str) -> Mapping[str, object] | None:
    try:
        known = json.loads(line)
    except ValueError:
        return None
    return known if isinstance(known, dict) and {"input", "label"} <= known.keys() else None


def _lines(path: Path) -> Iterable[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
