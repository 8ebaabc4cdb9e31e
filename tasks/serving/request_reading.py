"""A request's body as MLflow's own scoring server understands it, within limits, as inputs that can be batched."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any
from uuid import uuid4

import numpy as np

from graftline.answers.requests import LIMITS, inputs_of
from graftline.models.preprocessing import Raw
from graftline.settings import Kind
from graftline.settings.serving import MEBIBYTE, RequestLimits
from graftline.wording import shortened, shown

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
# Beside the inputs in JSON, and for the other types a header, whose value is a JSON list.
IDS, IDS_HEADER = "ids", "x-graftline-ids"
ID_CHARACTERS = 200
# A text of JSON, or what is left of one at its end. It gives nothing back, so that no body makes it look twice.
TEXTS = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)', re.DOTALL)
# A cell of CSV in quotes, or what is left of one.
CELLS = re.compile(rb'"(?:[^"]++|"")*+(?:"|\Z)')
BRACKETS = np.zeros(256, np.int8)
BRACKETS[list(b"[{")], BRACKETS[list(b"]}")] = 1, -1
# A thousand inputs in tables of a hundred columns. A value takes a parser microseconds and a hundred bytes, whatever it
# is, in which nobody else is answered.
MOST_VALUES = 100_000
SHOWN_CHARACTERS = 300


class RefusedQuestionError(ValueError):
    """A request that is not answered, with its status of HTTP."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Reading:
    """What a version reads."""

    kind: Kind
    column: str
    """The one of a table that it was trained to read."""


@dataclass(frozen=True)
class Question:
    """A request, parsed."""

    asked: object
    ids: tuple[str, ...] | None

    def inputs(self, reading: Reading, most: int) -> list[Raw]:
        """The inputs in it for a version that reads so. Raises: RefusedQuestionError."""
        try:
            inputs = inputs_of(self.asked, (reading.column, reading.kind), reading.kind, limits=LIMITS[reading.kind])
        except ValueError as error:
            raise RefusedQuestionError(str(error)) from None
        if reading.kind == "text":
            _require_texts(inputs)
        if len(inputs) > most:
            raise RefusedQuestionError(f"got {len(inputs):,} inputs, expected at most {most:,}; send several requests")
        if self.ids is not None and len(self.ids) != len(inputs):
            raise RefusedQuestionError(
                f"got {len(self.ids):,} ids for {len(inputs):,} inputs, expected one for each, or none"
            )
        return inputs

    def named(self, inputs: int) -> tuple[str, ...]:
        """The ids of the inputs: the client's, otherwise new ones."""
        return self.ids if self.ids is not None else tuple(uuid4().hex for _ in range(inputs))


def read_question(body: bytes, headers: Mapping[str, str], limits: RequestLimits) -> Question:
    """Parse a request. Raises: RefusedQuestionError with the sentence and the status."""
    from mlflow.exceptions import MlflowException

    kind = _type_of(headers.get("content-type", ""))
    try:
        if kind == JSON:
            return _from_json(body, limits)
        ids = _ids(_loaded(headers[IDS_HEADER].encode())) if IDS_HEADER in headers else None
        return Question(_from_csv(body) if kind == CSV else _from_parquet(body, limits), ids)
    except MlflowException as error:
        raise RefusedQuestionError(shortened(" ".join(error.message.split()), SHOWN_CHARACTERS)) from None


def _type_of(header: str) -> str:
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    if kind not in (JSON, CSV, PARQUET):
        raise RefusedQuestionError(f"content type {shown(header)}, expected {JSON}, {CSV} or {PARQUET}", 415)
    if any(parameter.replace(" ", "") != "charset=utf-8" for parameter in parameters):
        raise RefusedQuestionError(f"content type {shown(header)}, expected no parameter but charset=utf-8", 415)
    return kind


def _from_json(body: bytes, limits: RequestLimits) -> Question:
    from mlflow.pyfunc.scoring_server import SUPPORTED_FORMATS, infer_and_parse_data

    depth, values = depth_and_values_of(body)
    if depth > limits.depth:
        raise RefusedQuestionError(f"JSON of depth {depth:,}, expected at most {limits.depth}")
    _require_few(values)
    read = _loaded(body)
    if not isinstance(read, dict):
        raise RefusedQuestionError(f"got JSON of {shown(read)}, expected a mapping with {_forms(SUPPORTED_FORMATS)}")
    data = {name: value for name, value in read.items() if name in SUPPORTED_FORMATS}
    if len(data) != 1:
        raise RefusedQuestionError(
            f"got the keys {shortened(', '.join(map(ascii, read)), SHOWN_CHARACTERS)}, expected one of"
            f" {_forms(SUPPORTED_FORMATS)}"
        )
    return Question(infer_and_parse_data(data), _ids(read[IDS]) if IDS in read else None)


def _forms(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def depth_and_values_of(body: bytes) -> tuple[int, int]:
    """How deep lists and mappings of JSON lie in each other, and about how many values it holds, without parsing it."""
    bare = TEXTS.sub(b"", body)
    marks = BRACKETS[np.frombuffer(bare, np.uint8)]
    marks = marks[marks != 0]
    depth = int(np.cumsum(marks, dtype=np.int32).max(initial=0))
    return depth, bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def _require_few(values: int) -> None:
    if values > MOST_VALUES:
        raise RefusedQuestionError(
            f"got about {values:,} values, expected at most {MOST_VALUES:,}; send the inputs' own column alone, or"
            " several requests"
        )


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        said = shortened(" ".join(str(error).split()), SHOWN_CHARACTERS)
        raise RefusedQuestionError(f"no JSON in UTF-8 ({said}); mend it") from None


def _require_texts(inputs: Sequence[Raw]) -> None:
    """As the model itself would, and here, so that nobody who is asked together with it waits for that."""
    for place, raw in enumerate(inputs):
        if not isinstance(raw, str):
            raise RefusedQuestionError(f"input {place} is {shown(raw)}, expected a text; leave it out or give a text")


def _ids(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) and 0 < len(one) <= ID_CHARACTERS for one in given):
        raise RefusedQuestionError(
            f"{IDS}: got {shown(given)}, expected a list of texts of at most {ID_CHARACTERS} characters, one per input"
        )
    try:
        "".join(given).encode()
    except UnicodeEncodeError:
        raise RefusedQuestionError(f"{IDS}: hold half of a surrogate pair, expected texts") from None
    return tuple(given)


def _from_csv(body: bytes) -> object:
    from mlflow.pyfunc.scoring_server import parse_csv_input

    bare = CELLS.sub(b"", body)
    _require_few(bare.count(b",") + bare.count(b"\n") + bare.count(b"\r"))
    try:
        return parse_csv_input(StringIO(body.decode()))
    except UnicodeDecodeError as error:
        raise RefusedQuestionError(f"CSV that is not UTF-8 ({error.reason} at byte {error.start:,})") from None


def _from_parquet(body: bytes, limits: RequestLimits) -> object:
    """A table of Parquet, which unpacks to as much as it says. A value that stands in many rows is unpacked once."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        about = parquet.read_metadata(BytesIO(body))
        unpacked = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
        if unpacked > (most := limits.body_mebibytes * MEBIBYTE):
            raise RefusedQuestionError(f"Parquet of {unpacked:,} bytes once unpacked, expected at most {most:,}", 413)
        _require_few(about.num_rows * max(1, about.num_columns))
        names = [about.schema.column(place).path for place in range(about.num_columns)]
        table = parquet.read_table(BytesIO(body), read_dictionary=names).to_pandas()
        repeated = table.select_dtypes("category").columns
        return table.astype(dict.fromkeys(repeated, object))
    except (pa.ArrowException, OSError) as error:
        said = shortened(" ".join(str(error).split()), SHOWN_CHARACTERS)
        raise RefusedQuestionError(f"no Parquet ({said}); mend it") from None
