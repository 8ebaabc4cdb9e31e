"""Folders of class folders as rows: every file is one, whatever it is, so that nothing is dropped silently."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from graftline.tables import Row

SUFFIXES: dict[Literal["image", "audio"], tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp"),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
}


def read_class_folders(folder: Path, data: Path, kind: Literal["image", "audio"]) -> Iterator[Row]:
    """One row for each file below `folder`, in the order of their paths, numbered from 1.

    Values: the path below `data`, with / between folders, and the name of the class folder.
    """
    for number, path in enumerate(_entries(folder), start=1):
        name = path.relative_to(data).as_posix()
        parts = path.relative_to(folder).parts
        if fault := _fault(path, parts, kind):
            yield Row(number, (None, None), fault, name)
        else:
            yield Row(number, (name, parts[0]))


def _entries(folder: Path) -> list[Path]:
    """Everything below the folder but folders, and the links to folders: they are not followed, nor forgotten."""
    found = [
        Path(parent) / name
        for parent, folders, files in os.walk(folder, followlinks=False)
        for name in [*files, *(name for name in folders if (Path(parent) / name).is_symlink())]
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _fault(path: Path, parts: tuple[str, ...], kind: Literal["image", "audio"]) -> str | None:
    if any(part.startswith(".") for part in parts):
        return "a hidden file; remove it"
    if len(parts) == 1:
        return "lies beside the class folders, expected inside one; remove it"
    if path.is_dir():
        return "a link to a folder, which is not followed; put the files there"
    if path.suffix.lower() not in SUFFIXES[kind]:
        return f"ends in {path.suffix!a}, expected one of {', '.join(SUFFIXES[kind])}; remove it"
    return None
