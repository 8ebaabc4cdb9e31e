"""Folders of class folders as rows: every file is one, whatever it is, so that nothing is dropped silently.

The class folders may lie in folders of a split, such as train/, val/ and test/: never are these the labels.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from graftline.data.splitting import Split, side_named
from graftline.data.tables import Row
from graftline.errors import DataRefusedError

SUFFIXES: dict[Literal["image", "audio"], tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp"),
    "audio": (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
}
# Of these a file holds what was meant, but in a form that nobody here reads.
CONVERTIBLE: dict[Literal["image", "audio"], tuple[str, ...]] = {
    "image": (".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".dng"),
    "audio": (".m4a", ".aac", ".mp4", ".aif", ".aiff", ".wma", ".amr", ".webm", ".caf", ".au", ".w64", ".rf64"),
}


def read_class_folders(folder: Path, data: Path, kind: Literal["image", "audio"]) -> Iterator[Row]:
    """One row for each file below `folder`, in the order of their paths, numbered from 1.

    Values: the path below `data`, with / between folders, and the name of the class folder.
    Raises: DataRefusedError if there are folders of a split, but no class folders in them, or none to learn from.
    """
    sides = split_folders(folder)
    if sides:
        _require_classes(folder, sides)
    for number, path in enumerate(_entries(folder), start=1):
        name = path.relative_to(data).as_posix()
        parts = path.relative_to(folder).parts
        below = parts[1:] if parts[0] in sides else parts
        if fault := _beside(parts, sides) or _fault(path, below, kind):
            yield Row(number, (None, None), fault, name)
        else:
            yield Row(number, (name, below[0]), side=sides.get(parts[0]))


def read_files(folder: Path, data: Path, kind: Literal["image", "audio"]) -> Iterator[Row]:
    """The same whatever folders the files lie in, with the path below `data` alone."""
    for number, path in enumerate(_entries(folder), start=1):
        name, parts = path.relative_to(data).as_posix(), path.relative_to(folder).parts
        fault = _fault(path, (folder.name, *parts), kind)
        yield Row(number, (None,) if fault else (name,), fault, name if fault else "")


def split_folders(folder: Path) -> dict[str, Split]:
    """The folders in `folder` that are those of a split, each with its side; none if they are classes.

    They are if all are called so, or if one of them is to be learned from and another is not.
    """
    names = sorted(place.name for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    sides = {name: side for name in names if (side := side_named(name))}
    several = "train" in sides.values() and len(set(sides.values())) > 1
    return sides if several or len(sides) == len(names) else {}


def _require_classes(folder: Path, sides: Mapping[str, Split]) -> None:
    names = ", ".join(f"{name}/" for name in sides)
    if "train" not in sides.values():
        raise DataRefusedError(f"{folder}: holds {names} of a split, but none to learn from; expected train/ as well")
    if not any(place.is_dir() for name in sides for place in (folder / name).iterdir()):
        raise DataRefusedError(
            f"{folder}: {names} are the folders of a split, which are no labels, and hold no class folders; put a"
            " folder for each class into them, or paths and labels into a table (data.path, data.input)"
        )


def _beside(parts: tuple[str, ...], sides: Mapping[str, Split]) -> str | None:
    if sides and parts[0] not in sides:
        return f"lies beside the folders of the split ({', '.join(sides)}); remove it"
    return None


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
        return "lies beside the class folders, expected inside one, which names its label; remove it"
    if path.is_dir():
        return "a link to a folder, which is not followed; put the files there"
    if path.suffix.lower() not in SUFFIXES[kind]:
        way = "convert" if path.suffix.lower() in CONVERTIBLE[kind] else "remove"
        return f"ends in {path.suffix!a}, expected one of {', '.join(SUFFIXES[kind])}; {way} it"
    return None
