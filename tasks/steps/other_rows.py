"""Rows beside the data: a table or a folder of their own, checked as the data are."""

from collections.abc import Mapping
from pathlib import Path

from graftline.data.tables import read_header
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion, rows_sha256, table_path
from graftline.tasks.steps.validate_data import Role, validated
from graftline.tasks.workspace import Workspace
from graftline.wording import did_you_mean, shown


def other_rows(
    workspace: Workspace, settings: DataSettings, columns: Mapping[str, str], *, name: str, role: Role = "learned"
) -> ValidatedData:
    """Validate the rows of these settings' path; `name` is the setting that names it, `columns` what it must
    have, by what to do where one is missing.

    Raises: SettingsError if the path leaves the project folder; DataRefusedError if the rows are not fit, as
    `validate_data` judges it.
    """
    table = table_path(workspace, settings, name=name)
    try:
        if not table.is_dir():
            _require_columns(table, columns)
        sha256 = rows_sha256(workspace.root / settings.folder, table, settings.kind)
        version = DataVersion(f"sha256 {sha256}", False, (), sha256, table, settings.folder)
        return validated(workspace, settings, version, role=role)
    except DataRefusedError as error:
        raise DataRefusedError(f"{name}: {error.sentence}", error.causes) from None


def _require_columns(table: Path, columns: Mapping[str, str]) -> None:
    """Here, because `validated` would name the settings of the data."""
    header = read_header(table)
    for way, column in columns.items():
        if column not in header:
            there = ", ".join(shown(name) for name in header)
            raise DataRefusedError(
                f"{table}: has no column {shown(column)}, expected one of {there}; {way}"
                f"{did_you_mean(column, header, shown)}"
            )
