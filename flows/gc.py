"""Removing what neither a version, nor a run, nor the repetition of one needs any more."""

from pathlib import Path

from pydantic import JsonValue

from graftline.tasks.garbage import find_garbage, sizes_of
from graftline.tasks.workspace import Workspace

# Columns of the table that a person reads.
SIZE_CHARACTERS = 10


def gc(root: Path, *, dry_run: bool, keep_rejected: int) -> dict[str, JsonValue]:
    """Remove it, or with `dry_run` say what would be removed; what another process needs meanwhile is left.

    A plain function: a flow would start a server for it.
    Raises: RegistryRefusedError if a model's history is broken, or MLflow's server does not answer.
    """
    found = find_garbage(Workspace(root), keep_rejected=keep_rejected)
    sizes = sizes_of(found)
    removed = [dry_run or one.remove() for one in found]
    rows = [
        (one.what, one.why, size) if done else (one.what, f"left, it is in use by now ({one.why})", 0)
        for one, size, done in zip(found, sizes, removed, strict=True)
    ]
    total = sum(size for _, _, size in rows)
    lines = [f"{_megabytes(size)}  {what}: {why}" for what, why, size in rows]
    verb = "would be removed" if dry_run else "removed"
    lines.append(f"{_megabytes(total)}  in all, {sum(removed)} things {verb}" if rows else "nothing to remove")
    plain: list[JsonValue] = [{"what": what, "why": why, "bytes": size} for what, why, size in rows]
    return {"dry_run": dry_run, "removed": plain, "bytes": total, "summary": "\n".join(lines)}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB".rjust(SIZE_CHARACTERS)
