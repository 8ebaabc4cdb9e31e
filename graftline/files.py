"""Writing files so that a kill or a full disk leaves either the old content or the new."""

import json
import os
from collections.abc import Iterator
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
    return [folder / name for name in names_below(folder)]


def names_below(folder: Path, within: str = "") -> Iterator[str]:
    """The relative paths of the same files, in the same order, of which only one folder's are held at a time."""
    _, folders, names = next(os.walk(folder), ("", [], []))
    # With a slash behind its name a folder stands where its files' paths do.
    names += [f"{name}/" for name in folders if not (folder / name).is_symlink()]
    for name in sorted(names):
        if name.endswith("/"):
            yield from names_below(folder / name, within + name)
        else:
            yield within + name
