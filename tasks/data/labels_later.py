"""Labels that come later: the tables in `feedback/` with the ids of served rows; never written by code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graftline.answers.tasks import TASKS
from graftline.data.tables import nested_as_json, read_header, read_rows
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.wording import shown

FOLDER = "feedback"
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
ID, LABEL, TIME, BY = "id", "label", "time", "by"


@dataclass(frozen=True)
class Label:
    """A row of such a table."""

    file: str
    """Below the folder."""
    line: int
    id: str
    label: str
    """As the settings spell it."""
    time: str
    by: str
    more: Mapping[str, str | None]
    """Further columns, of which those with a name of the data's are taken over into a next version."""
    fault: str | None
    """Why it can be joined with nothing."""


def label_files(root: Path) -> list[Path]:
    """The tables in the folder of a project, and in those in it."""
    folder = root / FOLDER
    files = folder.rglob("*") if folder.is_dir() else ()
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def labels_of(path: Path, root: Path, settings: DataSettings) -> Iterator[Label]:
    """The rows of one of them. Raises: DataRefusedError if it has no ids or no labels."""
    name, header = path.relative_to(root / FOLDER).as_posix(), read_header(path)
    if missing := [column for column in (ID, LABEL) if column not in header]:
        raise DataRefusedError(
            f"{path}: has no column {missing[0]}, only {', '.join(map(shown, header))}; expected {ID} and {LABEL}"
        )
    targets = TASKS[settings.task].targets

    def nested(column: str, value: object) -> str | None:
        if column == LABEL and isinstance(value, list):
            return targets.from_list(value, settings)
        return nested_as_json(column, value)

    for row in read_rows(path, list(header), nested=nested):
        cells = dict(zip(header, row.values, strict=True))
        more = {column: text for column, text in cells.items() if column not in (ID, LABEL, TIME, BY)}
        said, label = cells[ID] or "", cells[LABEL] or ""
        fault = row.fault or (None if said and label else f"no {ID if not said else LABEL}")
        label = label if fault else targets.canonical(label, settings)
        yield Label(name, row.line, said, label, cells.get(TIME) or "", cells.get(BY) or "", more, fault)
