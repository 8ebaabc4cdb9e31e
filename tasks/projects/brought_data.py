"""The data of a project that is to begin: found where the user says, and brought to where they get a version."""

import csv
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from graftline.data.class_folders import SUFFIXES
from graftline.data.foreign_tables import TEXT_SUFFIXES, Manner, manner_of, rewrite
from graftline.data.splitting import side_named
from graftline.data.tables import read_rows
from graftline.errors import DataRefusedError, SettingsError
from graftline.files import files_below, write_atomically
from graftline.settings import DATA_FOLDER, Kind
from graftline.tasks.progress import waiting

TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".jsonl", ".ndjson", ".parquet")
# Parts of a data set that somebody has split already.
PARTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval")
# Folders that Graftline, git or DVC write in.
TAKEN = ("artifacts", "reports", "mlflow", "base_models", "requirements.lock")
BESIDE_DATA = (*TABLE_SUFFIXES, ".md", ".rst", ".json", ".yaml", "", *SUFFIXES["image"], *SUFFIXES["audio"])
ROWS_OF_FILES = "files.csv"
PART = "part"

Form = Literal["table", "tables of parts", "class folders", "class folders of parts"]


@dataclass(frozen=True)
class FoundData:
    """Data where they lie now."""

    source: Path
    form: Form
    manner: Manner | None = None
    """How a table of text is written; None of what is no text."""
    kind: Kind | None = None
    """The kind of the files in class folders."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The files in each class folder."""

    @property
    def is_foreign(self) -> bool:
        """Whether it has to be written anew before it can be read."""
        named_so = self.manner is not None and self.source.suffix.lower() != ".csv"
        return self.form == "tables of parts" or named_so or (self.manner is not None and not self.manner.is_ours)

    @property
    def tables(self) -> list[Path]:
        """The tables that it consists of."""
        return [self.source] if self.form == "table" else _tables_in(self.source)


@dataclass(frozen=True)
class BroughtData:
    """Data in the project."""

    path: str
    """What data.path takes."""
    said: str
    """What was done, for the user."""
    input: str | None = None
    target: str | None = None
    """The columns, where the table was made here."""


def find_data(root: Path, source: Path) -> FoundData:
    """What lies at `source` for a project in `root`: a table, a folder of class folders, or the parts of either.

    Raises: SettingsError or DataRefusedError that names what was expected.
    """
    if source.is_file():
        if source.suffix.lower() not in TABLE_SUFFIXES:
            raise SettingsError(
                f"--data {source}: ends in {source.suffix!r}, expected one of {', '.join(TABLE_SUFFIXES)} or a folder"
                " of class folders; export the table as CSV"
            )
        return FoundData(source, "table", _manner(source))
    if not source.is_dir():
        raise SettingsError(f"--data {source}: there is nothing; expected a table or a folder of class folders")
    kind, counts = _class_folders(source)
    if kind:
        if root.resolve().is_relative_to(source.resolve()):
            raise SettingsError(
                f"--data {source}: holds the project itself, expected a folder beside or below it that the class"
                " folders lie in"
            )
        parts = all(side_named(name) for name in counts) and all(any(d.iterdir()) for d in _folders(source))
        deep = parts and all(any(place.is_dir() for place in folder.iterdir()) for folder in _folders(source))
        return FoundData(source, "class folders of parts" if deep else "class folders", kind=kind, counts=counts)
    tables = _tables_in(source)
    if len(tables) == 1:
        return FoundData(tables[0], "table", _manner(tables[0]))
    if tables and all(table.stem.lower() in PARTS and table.suffix.lower() in TEXT_SUFFIXES for table in tables):
        manners = {_manner(table) for table in tables}
        if len(manners) == 1:
            return FoundData(source, "tables of parts", manners.pop())
    names = ", ".join(table.name for table in tables[:5])
    raise SettingsError(
        f"--data {source}: holds {f'the tables {names}: name one' if tables else 'no table and no class folders'};"
        " expected a table (CSV, JSON Lines or Parquet) or a folder in which each class has a folder of"
        " pictures or sounds"
    )


def candidates(root: Path) -> list[Path]:
    """What may be the data of a project that is to begin in `root`."""
    places = [path for path in sorted(root.iterdir()) if not path.name.startswith(".") and path.name not in TAKEN]
    tables = [path for path in places if path.is_file() and path.suffix.lower() in set(TABLE_SUFFIXES) - {".txt"}]
    inside = [table for path in places if path.is_dir() for table in _tables_in(path)]
    folders = [path for path in places if path.is_dir() and _class_folders(path)[0]]
    return [*tables, *folders, *(table for table in inside if table.parent not in folders)]


def stands_in_place(root: Path, data: FoundData) -> bool:
    """Whether the data can stay where they lie: in a folder of the project that holds nothing but data."""
    if data.form not in ("table", "class folders") or data.is_foreign:
        return False
    folder = own_folder(root, data)
    if folder is None:
        return False
    return all(path.suffix.lower() in BESIDE_DATA for path in files_below(folder))


def own_folder(root: Path, data: FoundData) -> Path | None:
    """The folder of the project, on its first level, that the data lie in."""
    source = data.source.resolve()
    if not source.is_relative_to(root.resolve()):
        return None
    parts = source.relative_to(root.resolve()).parts
    is_inside = len(parts) > 1 or source.is_dir()
    if not parts or not is_inside or parts[0] in TAKEN or parts[0].startswith("."):
        return None
    return root / parts[0]


@waiting("bringing the data into the project")
def bring(root: Path, data: FoundData, *, media: str | None = None) -> BroughtData:
    """Bring the data into a folder of the project, unless they lie in one. `media` is a table's column of paths.

    Nothing that is there is overwritten; the source stays where it is.
    """
    source = data.source
    if stands_in_place(root, data):
        path = source.resolve().relative_to(root.resolve()).as_posix()
        if media:
            _require_paths_in(root / path.split("/")[0], source, media)
        return BroughtData(path, f"{path}: stays where it is")
    if data.form in ("table", "tables of parts"):
        return _bring_table(root, data, media)
    return _bring_folder(root, data)


def _bring_table(root: Path, data: FoundData, media: str | None) -> BroughtData:
    source = data.source
    name = f"{source.name if source.is_dir() else source.stem}.csv" if data.is_foreign else source.name
    partial = root / f".partial-{name}"
    try:
        if data.is_foreign:
            assert data.manner is not None  # only text is written in a manner
            part = PART if data.form == "tables of parts" else None
            rewrite(data.tables, data.manner, partial, part=part)
        else:
            shutil.copyfile(source, partial)
        folder, is_there = _place(root, name, partial)
        target = root / folder / name
        files = _copy_named_files(partial, source.parent, root / folder, media) if media else ""
        if not is_there:
            target.parent.mkdir(exist_ok=True)
            partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    size = _size(target.stat().st_size)
    how = f"copied from {source}" if not data.is_foreign else f"written from {source} ({_told(data)})"
    said = f"{folder}/{name}: {'is there already' if is_there else f'{how}, {size}'}{files}"
    return BroughtData(f"{folder}/{name}", said)


def _told(data: FoundData) -> str:
    assert data.manner is not None
    manner = f"was {data.manner.in_words}; now UTF-8 and commas"
    if data.form == "tables of parts":
        names = ", ".join(table.name for table in data.tables)
        return f"{names} in one table, column {PART} says which; Graftline draws one split for good; {manner}"
    return manner


def _copy_named_files(table: Path, beside: Path, folder: Path, media: str) -> str:
    """Copy the files that a table names by paths that start in `beside`. Returns: a few words about it."""
    total = 0
    for relative in dict.fromkeys(row.values[0] for row in read_rows(table, [media]) if row.values[0]):
        place, target = beside / str(relative), folder / str(relative)
        if place.is_file() and not target.exists() and target.resolve().is_relative_to(folder.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, target)
            total += place.stat().st_size
    return f", with the files that it names, {_size(total)}" if total else ""


def _require_paths_in(folder: Path, table: Path, media: str) -> None:
    """Paths in a table start in the folder that has the version."""
    first = next((row.values[0] for row in read_rows(table, [media]) if row.values[0]), None)
    if first and not (folder / first).exists():
        raise DataRefusedError(
            f"{table}: {first!r} in column {media} is no file below {folder.name}/, where paths of a table in"
            f" {folder.name}/ start, with / between folders; correct the paths, or move the table"
        )


def _bring_folder(root: Path, data: FoundData) -> BroughtData:
    source, name = data.source.resolve(), data.source.resolve().name
    total = sum(path.stat().st_size for path in _seen_below(source) if path.is_file())
    folder = own_folder(root, data)
    if folder is None or data.form == "class folders":
        folder = root / _free_folder(root, name)
        if not (folder / name).exists():
            partial = root / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial, ignore=shutil.ignore_patterns(".*"))
            folder.mkdir(exist_ok=True)
            partial.rename(folder / name)
        said = f"{folder.name}/{name}/: copied from {source}, {_size(total)}"
    else:
        said = f"{source.relative_to(root.resolve()).as_posix()}/: stays where it is, {_size(total)}"
    if data.form == "class folders":
        return BroughtData(f"{folder.name}/{name}", said)
    below = "" if source == folder.resolve() else f"{name}/"
    table = folder / ROWS_OF_FILES
    if not table.exists():
        _write_rows_of_files(folder, folder / below, table)
    parts = ", ".join(data.counts)
    said += f"; {folder.name}/{ROWS_OF_FILES} lists the files of {parts}: Graftline draws one split for good"
    return BroughtData(f"{folder.name}/{ROWS_OF_FILES}", said, "file", "label")


def _write_rows_of_files(folder: Path, source: Path, table: Path) -> None:
    rows = io.StringIO(newline="")
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["file", "label", PART])
    for path in _seen_below(source):
        parts = path.relative_to(source).parts
        if len(parts) >= 3 and path.suffix.lower() in (*SUFFIXES["image"], *SUFFIXES["audio"]):
            writer.writerow([path.relative_to(folder).as_posix(), parts[1], parts[0]])
    write_atomically(table, rows.getvalue())


def _seen_below(folder: Path) -> list[Path]:
    """The files below a folder, without hidden ones and those in hidden folders."""
    return [path for path in files_below(folder) if not any(n.startswith(".") for n in path.relative_to(folder).parts)]


def _place(root: Path, name: str, content: Path) -> tuple[str, bool]:
    """The folder for a file, and whether it is there already."""
    from graftline.digests import file_sha256

    for folder in (DATA_FOLDER, f"{Path(name).stem}_{DATA_FOLDER}"):
        there = root / folder / name
        if there.is_file() and file_sha256(there) == file_sha256(content):
            return folder, True
    return _free_folder(root, Path(name).stem), False


def _free_folder(root: Path, name: str) -> str:
    """The name of a folder that is free."""
    names = [DATA_FOLDER, f"{name}_{DATA_FOLDER}", *(f"{name}_{DATA_FOLDER}_{number}" for number in range(2, 1000))]
    # A version without its files waits for a `dvc pull`.
    return next(name for name in names if holds_nothing(root / name) and not (root / f"{name}.dvc").exists())


def holds_nothing(folder: Path) -> bool:
    """Whether there is nothing, or an empty folder."""
    return not any(folder.iterdir()) if folder.is_dir() else not os.path.lexists(folder)


def _class_folders(folder: Path) -> tuple[Kind | None, dict[str, int]]:
    """The kind of the files in the folders of a folder, and how many there are in each; None if they are none."""
    suffixes: dict[Literal["image", "audio"], int] = {"image": 0, "audio": 0}
    counts: dict[str, int] = {}
    for place in _folders(folder):
        here = 0
        for name in _names_below(place):
            for kind, known in SUFFIXES.items():
                if name.lower().endswith(known):
                    suffixes[kind] += 1
                    here += 1
        counts[place.name] = here
    kind = max(suffixes, key=lambda one: suffixes[one])
    filled = {name: count for name, count in counts.items() if count}
    return (kind, filled) if len(filled) > 1 and suffixes[kind] else (None, {})


def _folders(folder: Path) -> list[Path]:
    return [place for place in sorted(folder.iterdir()) if place.is_dir() and not place.name.startswith(".")]


def _names_below(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def _tables_in(folder: Path) -> list[Path]:
    suffixes = set(TABLE_SUFFIXES) - {".txt"}
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in suffixes]


def _manner(table: Path) -> Manner | None:
    if table.suffix.lower() not in TEXT_SUFFIXES:
        return None
    return manner_of(table)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
