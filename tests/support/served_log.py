"""The log of served rows as the server writes it, made of held-out rows or of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from graftline.tasks.watching.reference import Reference
from graftline.tasks.workspace import Workspace

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("time", pa.timestamp("us", tz="UTC")), ("version", pa.int32()), ("run_id", pa.string()),
        ("digest", pa.string()), ("input", pa.string()), ("facts", pa.map_(pa.string(), pa.float64())),
        ("features", pa.list_(pa.float32())), ("answer", pa.string()), ("probabilities", pa.list_(pa.float32())),
        ("confidence", pa.float32()), ("milliseconds", pa.float32()),
    ]
)  # fmt: skip
FIRST_DAY = date(2026, 1, 1)


@dataclass(frozen=True)
class ServedDay:
    """What was served on a day: the ids, and what was answered to each."""

    day: date
    ids: Sequence[str]
    answers: Sequence[str]


def serve_days(
    workspace: Workspace, reference: Reference, days: int, *, rows: int = 40, moved: float = 0.0, seed: int = 0,
    first: date = FIRST_DAY, large: float | None = None,
) -> list[ServedDay]:  # fmt: skip
    """Write days of rows that are drawn from the held-out ones, with features and facts moved by so many spreads.

    One number of each day's features is `large`, if that is given.
    """
    random = np.random.default_rng(seed)
    days_of = [first + timedelta(days=day) for day in range(days)]
    return [_write(workspace, reference, day, rows, moved, random, large) for day in days_of]


def served_file(workspace: Workspace, model: str, day: date) -> Path:
    return workspace.artifacts / "served" / model / day.isoformat() / "120000-abc.parquet"


def _write(
    workspace: Workspace, reference: Reference, day: date, rows: int, moved: float, random: np.random.Generator,
    large: float | None,
) -> ServedDay:  # fmt: skip
    about, held_out = reference.about, reference.rows
    places = random.choice(len(held_out), rows)
    ids = [f"{day}-{number}" for number in range(rows)]
    answers = [about.labels[int(np.argmax(held_out.answers[place]))] for place in places]
    facts = held_out.facts[places] + moved * held_out.facts.std(0)
    features = None if held_out.features is None else held_out.features[places] + moved * held_out.features.std(0)
    if features is not None and large is not None:
        features[0, 0] = large
    noon = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)
    table = pa.table(
        {
            "id": ids,
            "time": [noon + timedelta(seconds=number) for number in range(rows)],
            "version": [about.version] * rows,
            "run_id": [about.run_id] * rows,
            "digest": ["0" * 64] * rows,
            "input": [None] * rows,
            "facts": [list(zip(about.facts, map(float, row), strict=True)) for row in facts],
            "features": [None] * rows if features is None else list(features.astype(np.float32)),
            "answer": answers,
            "probabilities": [[0.5, 0.5]] * rows,
            "confidence": held_out.confidence[places].astype(np.float32),
            "milliseconds": [1.0] * rows,
        },
        schema=SCHEMA,
    )
    file = served_file(workspace, about.model, day)
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)
    return ServedDay(day, ids, answers)
