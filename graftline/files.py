"""Writing files so that a kill or a full disk leaves either the old content or the new."""

import json
import os
from pathlib import Path

from pydantic import JsonValue


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` beside `path`, sync it, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: JsonValue) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_atomically(path, json_file(value))


def json_file(value: JsonValue) -> bytes:
    """The content of such a file."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted by its relative path; links are listed, not followed."""
    found = [Path(parent) / name for parent, _, names in os.walk(folder, followlinks=False) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
