"""Labels that come later, in `feedback/`: tables with the ids of served rows; never written by code."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.errors import DataRefusedError
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "feedback"
ID, LABEL, TIME = "id", "label", "time"


@dataclass(frozen=True)
class Feedback:
    """One label."""

    id: str
    label: str
    time: datetime | None
    """When it came, where the table says so."""


def read_feedback(workspace: Workspace) -> dict[str, Feedback]:
    """The labels by the served rows' ids; of several for one row the newest, and without times the last in order.

    Raises: DataRefusedError naming a file without ids and labels.
    """
    found: dict[str, Feedback] = {}
    folder = workspace.root / FOLDER
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix not in _READERS or file.name.startswith("."):
            continue
        for one in _rows_of(file):
            known = found.get(one.id)
            if known is None or known.time is None or one.time is None or known.time <= one.time:
                found[one.id] = one
    return found


def _rows_of(file: Path) -> list[Feedback]:
    try:
        table = _READERS[file.suffix](file)
    except (ValueError, OSError) as error:
        raise DataRefusedError(f"{file}: cannot be read ({error}); mend or remove it") from None
    if missing := {ID, LABEL} - set(table.columns):
        raise DataRefusedError(
            f"{file}: has no column {' and '.join(sorted(missing))}, expected id (as it was answered) and label; add it"
        )
    table = table[table[LABEL].notna()]
    times = table[TIME].tolist() if TIME in table.columns else [None] * len(table)
    return [
        Feedback(str(one), _as_text(label), _time_of(file, time))
        for one, label, time in zip(table[ID].tolist(), table[LABEL].tolist(), times, strict=True)
    ]


def _as_text(label: object) -> str:
    import json

    return json.dumps(list(label), ensure_ascii=False) if isinstance(label, list | tuple) else str(label)


def _time_of(file: Path, value: object) -> datetime | None:
    import pandas as pd

    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    try:
        moment: datetime = pd.Timestamp(str(value)).to_pydatetime()
    except ValueError:
        raise DataRefusedError(f"{file}: time {value!r} is no time, expected ISO 8601; mend it") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _csv(file: Path) -> "pd.DataFrame":
    import pandas as pd

    # Labels such as NA and 01 stay as they are written.
    return pd.read_csv(file, dtype=str, keep_default_na=False, na_values={LABEL: [""], TIME: [""]})


def _jsonl(file: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_json(file, lines=True, dtype=False)


def _parquet(file: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(file)


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
