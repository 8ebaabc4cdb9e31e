"""A table of quarantined rows that a person corrects, and what of it differs from the rows as they are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftline.data.class_folders import read_class_folders
from graftline.data.media_files import UnreadableFileError, read_below
from graftline.data.row_names import printable
from graftline.data.tables import NUMBER, Row, nested_as_json, read_header, read_rows
from graftline.data.written_tables import written_table
from graftline.errors import DataRefusedError, SettingsError
from graftline.settings import DataSettings
from graftline.tasks.data.files import DataVersion
from graftline.tasks.data.validation import CLASS_FOLDER_NAMES
from graftline.tasks.rows.changes import Change
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

# Columns of the table that are ours; the others are the data's own.
VERSION, LINE, ID, REASONS = "graftline_version", "graftline_line", "graftline_id", "graftline_reasons"
DO, NEW_FILE, RAW = "graftline_do", "graftline_new_file", "graftline_raw"
REMOVE = "remove"
# As much of the version's name as stands in each row.
VERSION_CHARACTERS = 12
CSV = ".csv"
# What begins so a spreadsheet takes for a formula, which may run programs and ask servers; an apostrophe in front makes
# a text of it. So that all come back as they were, what begins with one gets another.
FORMULAS = "=+-@\t\r'"


@dataclass(frozen=True)
class MendedRow:
    """A row of the table: what it asks for, that it asks for nothing, or why it cannot be."""

    place: str
    """Where it stands in the data, or in the table if it does not say so."""
    change: Change | None = None
    fault: str | None = None


def write_mend_table(
    target: Path,
    workspace: Workspace,
    settings: DataSettings,
    version: DataVersion,
    reasons: Mapping[int, Sequence[str]],
) -> int:
    """Write the rows that have reasons, with all their columns, to a table outside the data. Returns: how many.

    Raises: SettingsError if there is something at `target`, or it lies in the data's folder.
    """
    if target.exists():
        raise SettingsError(f"{target}: is there already; name another file, or remove it")
    if target.resolve().is_relative_to((workspace.root / settings.folder).resolve()):
        raise SettingsError(
            f"{target}: lies in {settings.folder}/, which only a new version changes; name it elsewhere"
        )
    columns, rows = rows_of(workspace, settings, version)
    wanted = [row for row in rows if row.line in reasons]
    media = [NEW_FILE] if settings.kind != "text" else []
    raw = [RAW] if any(row.fault for row in wanted) and not version.table.is_dir() else []
    is_csv = target.suffix.lower() == CSV
    names = [VERSION, LINE, ID, REASONS, DO, *media, *columns, *raw]
    with written_table(target, dict.fromkeys(names, "text")) as write:
        for row in wanted:
            head = [version.version[:VERSION_CHARACTERS], str(row.line), _id_of(row, columns, settings)]
            values = [row.raw, None] if row.fault and version.table.is_dir() else row.values
            said = "; ".join(reasons[row.line])
            cells = [*head, said, None, *[None for _ in media], *values, *[printable(row.raw) for _ in raw]]
            write([[_inert(cell) if is_csv else cell for cell in cells]])
    return len(wanted)


def read_mend_table(
    path: Path, workspace: Workspace, settings: DataSettings, version: DataVersion, reasons: Mapping[int, Sequence[str]]
) -> list[MendedRow]:
    """What each row of the table asks for. Rows that are as they were ask for nothing.

    Raises: SettingsError or DataRefusedError if it is no such table, or of another version of the data.
    """
    header = read_header(path) if path.is_file() else {}
    if not {VERSION, LINE} <= header.keys():
        raise SettingsError(
            f"{path}: has no columns {VERSION} and {LINE}, expected a table that `graftline quarantine mend FILE` wrote"
        )
    columns, rows = rows_of(workspace, settings, version)
    missing = [name for name in columns if name not in header]
    if missing:
        raise SettingsError(f"{path}: lacks the data's column {shown(missing[0])}; keep all columns of the table")
    there = {row.line: row for row in rows if row.line in reasons}
    mended = list(read_rows(path, list(header), nested=nested_as_json))
    told = [[_as_meant(cell) for cell in row.values] if path.suffix.lower() == CSV else row.values for row in mended]
    cells = [dict(zip(header, row, strict=True)) for row in told]
    _require_version(path, cells, version, [row.fault for row in mended])
    twice = Counter(one[LINE] for one in cells if one[LINE])
    return [
        _mended(path, row, one, there, columns, twice[one[LINE]] > 1, reasons, workspace)
        for row, one in zip(mended, cells, strict=True)
    ]


def rows_of(workspace: Workspace, settings: DataSettings, version: DataVersion) -> tuple[list[str], Iterator[Row]]:
    """The data's columns, and their rows as they stand there."""
    if not version.table.is_dir():
        columns = list(read_header(version.table))
        return columns, read_rows(version.table, columns, nested=nested_as_json)
    assert settings.kind != "text"
    rows = read_class_folders(version.table, workspace.root / settings.folder, settings.kind)
    return list(CLASS_FOLDER_NAMES), rows


def _inert(cell: str | None) -> str | None:
    """A cell as a spreadsheet shows it instead of computing it."""
    return f"'{cell}" if cell and cell[0] in FORMULAS and not NUMBER.fullmatch(cell) else cell


def _as_meant(cell: str | None) -> str | None:
    return cell[1:] if cell and cell[0] == "'" and cell[1:2] in FORMULAS and cell[1:] else cell


def _id_of(row: Row, columns: Sequence[str], settings: DataSettings) -> str | None:
    return row.values[columns.index(settings.id)] if settings.id and settings.id in columns else None


def _require_version(
    path: Path, cells: Sequence[Mapping[str, str | None]], version: DataVersion, faults: Sequence[str | None]
) -> None:
    said = {one[VERSION] for one, fault in zip(cells, faults, strict=True) if fault is None}
    if other := said - {version.version[:VERSION_CHARACTERS]}:
        raise DataRefusedError(
            f"{path}: was written for version {shown(min(str(one) for one in other))} of the data, which are at"
            f" {version.version[:VERSION_CHARACTERS]} by now; write it anew with `graftline quarantine mend FILE`"
        )


def _mended(
    path: Path,
    row: Row,
    cells: Mapping[str, str | None],
    there: Mapping[int, Row],
    columns: Sequence[str],
    is_twice: bool,
    reasons: Mapping[int, Sequence[str]],
    workspace: Workspace,
) -> MendedRow:
    here = f"line {row.line} of {path.name}"
    if row.fault:
        return MendedRow(here, fault=row.fault)
    said, do = cells[LINE] or "", (cells.get(DO) or "").strip().lower()
    line = int(said) if said.isascii() and said.isdigit() else 0
    place = f"line {line}"
    if line not in there:
        return MendedRow(here, fault=f"{LINE} {shown(said)} is no row in quarantine")
    if is_twice:
        return MendedRow(place, fault=f"stands in {path.name} twice, expected once")
    if do not in ("", REMOVE):
        return MendedRow(place, fault=f"{DO} {shown(do)}, expected {REMOVE} or nothing")
    if do == REMOVE:
        return MendedRow(place, Change(line, is_removed=True, reasons=tuple(reasons[line])))
    before = there[line]
    values = _changed_values(before, cells, columns)
    try:
        content = _content_of(cells.get(NEW_FILE), path, workspace)
    except UnreadableFileError as error:
        return MendedRow(place, fault=f"{NEW_FILE} {shown(cells.get(NEW_FILE))}: {error}")
    if not values and content is None:
        return MendedRow(place)
    if before.fault is not None and columns != list(CLASS_FOLDER_NAMES):
        values = {name: cells[name] for name in columns}
    return MendedRow(place, Change(line, values, content, reasons=tuple(reasons[line])))


def _changed_values(before: Row, cells: Mapping[str, str | None], columns: Sequence[str]) -> dict[str, str | None]:
    """The cells that are others than in the data. A row that could not be read has none there."""
    old: Sequence[str | None] = before.values
    if before.fault is not None and columns == list(CLASS_FOLDER_NAMES):
        old = [before.raw, None]
    # What no file of Unicode can hold was written as it is shown.
    return {
        name: cells[name]
        for name, text in zip(columns, old, strict=True)
        if (cells[name] or "") not in (text or "", printable(text or ""))
    }


def _content_of(name: str | None, table: Path, workspace: Workspace) -> bytes | None:
    """The file that takes a damaged one's place: beside the table, or below the project folder.

    Raises: UnreadableFileError, also for a path that leads out of both.
    """
    if not name:
        return None
    try:
        return read_below(table.parent, name)
    except UnreadableFileError:
        return read_below(workspace.root, name)
