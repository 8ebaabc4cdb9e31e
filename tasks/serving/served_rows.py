"""The rows that are kept of what was served: their columns, and how an answered request becomes some."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from graftline.answers.facts import content_of, digest_of, facts_of
from graftline.models.preprocessing import Raw
from graftline.settings import Kind
from graftline.settings.serving import KEPT, Kept

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the client's, otherwise made; the answer holds it, too
        ("time", pa.timestamp("us", tz="UTC")),  # at which the request came
        ("version", pa.int32()),
        ("run_id", pa.string()),  # of MLflow
        ("digest", pa.string()),  # sha256 of the input's bytes, of a text as UTF-8
        ("input", pa.string()),  # a text, or base64; only where the settings keep it
        ("facts", pa.map_(pa.string(), pa.float64())),  # answers/facts.py says which
        ("features", pa.list_(pa.float32())),  # what the head read; null where the version cannot tell
        ("answer", pa.string()),  # a label; of several labels a JSON list; a number as text
        ("probabilities", pa.list_(pa.float32())),  # in the order of the model's labels; null of a number
        ("confidence", pa.float32()),  # the largest of them
        ("milliseconds", pa.float32()),  # from the request's coming to its answer
    ]
)


@dataclass(frozen=True)
class Answers:
    """An answered request."""

    ids: Sequence[str]
    inputs: Sequence[Raw]
    kind: Kind
    records: Sequence[Mapping[str, Any]]
    """As the model answers, one per input."""
    vectors: npt.NDArray[np.float32] | None
    """What its head read: (inputs, width)."""
    version: int
    run_id: str
    time: datetime
    milliseconds: float

    @property
    def bytes(self) -> int:
        """About how much memory the inputs and vectors take."""
        vectors = 0 if self.vectors is None else self.vectors.nbytes
        return vectors + sum(len(raw) if isinstance(raw, str) else len(content_of(raw)) for raw in self.inputs)


def rows_of(answers: Answers, keeps: Kept) -> list[dict[str, Any]]:
    """A row per input, with as much of it as is to be kept."""
    return [_row(answers, place, KEPT.index(keeps)) for place in range(len(answers.ids))]


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def _row(answers: Answers, place: int, keeps: int) -> dict[str, Any]:
    raw, record = answers.inputs[place], answers.records[place]
    probabilities = list(record["probabilities"].values()) if "probabilities" in record else None
    with_vectors = answers.vectors is not None and keeps >= KEPT.index("features")
    return {
        "id": answers.ids[place],
        "time": answers.time,
        "version": answers.version,
        "run_id": answers.run_id,
        "digest": digest_of(raw),
        "input": _as_text(raw) if keeps >= KEPT.index("input") else None,
        "facts": list(facts_of(raw, answers.kind).items()) if keeps >= KEPT.index("facts") else [],
        "features": answers.vectors[place] if with_vectors and answers.vectors is not None else None,
        "answer": _answer(record),
        "probabilities": probabilities,
        "confidence": max(probabilities) if probabilities else None,
        "milliseconds": answers.milliseconds,
    }


def _answer(record: Mapping[str, Any]) -> str:
    if "label" in record:
        return str(record["label"])
    if "labels" in record:
        return json.dumps(list(record["labels"]), ensure_ascii=False)
    return repr(float(record["value"]))


def _as_text(raw: Raw) -> str:
    # What is in no UTF-8 is kept as a question mark; its digest is that of what came.
    return raw.encode(errors="replace").decode() if isinstance(raw, str) else base64.b64encode(content_of(raw)).decode()
