"""What DVC holds of a folder where the file that should name its version does not, and the commands that mend it."""

from collections.abc import Iterator
from pathlib import Path

import yaml

# In what a run makes there are none of the data's.
NOT_LOOKED_INTO = (".dvc", ".git", "artifacts", "reports")
SHOWN_POINTERS = 3


def in_repository(root: Path) -> bool:
    """Whether git keeps the folder."""
    return any((place / ".git").exists() for place in (root.resolve(), *root.resolve().parents))


def how_to_version(root: Path, folder: str, table: Path) -> str:
    """The commands that give the folder a version, with what is in their way."""
    commit = f" and commit {folder}.dvc" if in_repository(root) else ""
    add = f"`dvc add {folder}`{commit}"
    # A table beside the folder is to be brought into it.
    outside = None if table.is_relative_to(root / folder) else table
    if stage := _stage_with(root, root / folder):
        return f"it is an output of the stage {stage} in dvc.yaml; take it out of the stage's outs, then run {add}"
    pointers = sorted(_pointers_to(root, [root / folder, *([outside] if outside else [])]))
    if not pointers:
        return f"make one with {add}"
    names = [pointer.relative_to(root).as_posix() for pointer in pointers]
    shown = ", ".join(names[:SHOWN_POINTERS]) + (f" and {len(names) - SHOWN_POINTERS} more" if names[3:] else "")
    remove = f"`dvc remove {names[0]}`" if len(names) == 1 else f"`dvc remove` of each ({shown})"
    move = f", move {outside.name} into {folder}/ and name it in data.path" if outside else ""
    return f"DVC has it as {shown}, expected the whole folder; run {remove}, which leaves the data{move}, then {add}"


def how_to_restore(pointer: Path, folder: str) -> str:
    """What to do about a .dvc file that says nothing."""
    if in_repository(pointer.parent):
        return f"restore it with `git checkout {pointer.name}`"
    return f"restore it from a backup, or remove it and make a new version of what lies there with `dvc add {folder}`"


def _pointers_to(root: Path, wanted: list[Path]) -> Iterator[Path]:
    """The .dvc files of a project that hold one of these, or a part of it."""
    for pointer in root.rglob("*.dvc"):
        if pointer.is_file() and pointer.relative_to(root).parts[0] not in NOT_LOOKED_INTO:
            held = [Path(place) for place in _outs(_read(pointer))]
            if any(_lies_in(pointer.parent / place, one) for place in held for one in wanted):
                yield pointer


def _stage_with(root: Path, folder: Path) -> str | None:
    stages = _read(root / "dvc.yaml").get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        if any(_lies_in(root / place, folder) for place in _outs(stage)):
            return str(name)
    return None


def _outs(said: object) -> list[str]:
    """The places that a .dvc file or a stage writes; DVC takes a path alone, a path with options, or a record."""
    outs = said.get("outs") if isinstance(said, dict) else None
    places = [one.get("path", next(iter(one), "")) if isinstance(one, dict) else one for one in outs or ()]
    base = str(said.get("wdir", "")) if isinstance(said, dict) else ""
    return [str(Path(base) / str(place)) for place in places]


def _lies_in(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def _read(path: Path) -> dict[str, object]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return said if isinstance(said, dict) else {}
