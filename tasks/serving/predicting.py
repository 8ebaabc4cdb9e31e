"""Answers of a registered model for a table, or for the files in a folder: row by row, in constant memory."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from graftline.compute.threads import thread_count
from graftline.data.class_folders import SUFFIXES
from graftline.data.media_files import UnreadableFileError, read_below
from graftline.data.tables import Nested, Row, nested_as_json, read_header, read_rows, refuse_nested
from graftline.data.written_tables import Cell, Type, require_table_name, written_table
from graftline.errors import DataRefusedError, SettingsError
from graftline.files import files_below
from graftline.models.outputs import Outputs, by_target, column_of, parts_of
from graftline.settings import Kind
from graftline.tasks.progress import Wait
from graftline.tasks.serving.answering import RegisteredModel, answering
from graftline.wording import shortened

# Enough to fill a batch of each length; media are held whole.
CHUNK_ROWS: dict[Kind, int] = {"text": 512, "image": 32, "audio": 16}
SHOWN_CHARACTERS = 300
ANSWER, PROBABILITY, ERROR = "answer", "probability.", "error"
# In front of a column of ours whose name a column of the input has.
OURS = "graftline."
FILE = "file"
# The model is asked some rows at a time, so the place that it names says nothing.
PLACE = re.compile(r"^input \d+:? (is )?")


@dataclass(frozen=True)
class Predicted:
    """The outcome of predicting: rows read = answered + refused."""

    read: int
    answered: int
    columns: tuple[str, ...]
    """Those that were added."""

    @property
    def refused(self) -> int:
        return self.read - self.answered


@dataclass(frozen=True)
class Trained:
    """The columns as the version was trained with them."""

    input: str
    label_separator: str


@dataclass(frozen=True)
class _Source:
    columns: tuple[str, ...]
    input: int
    """The place of the column that the model reads."""
    rows: Iterator[Row]
    folders: tuple[Path, ...]
    """Files that rows name lie below one of these."""
    count: int | None = None
    """Of the rows, where it is known before they are read."""


def predict_table(model: RegisteredModel, trained: Trained, source: Path, target: Path, *, data: Path) -> Predicted:
    """Write the rows of `source`, in their order, with the model's answers to `target`.

    `source` is a table, or a folder of pictures or sounds; files that a table names lie beside it, or below `data`. A
    row that cannot be read, or that the model refuses, is written with an error in place of an answer.
    Raises: SettingsError, DataRefusedError for a table that is none; RegistryRefusedError if the model stops answering.
    """
    require_table_name(target)
    rows = _folder(source, target, model.kind) if source.is_dir() else _table(source, target, trained.input, data)
    added = _added_columns(model, rows.columns)
    columns: dict[str, Type] = {**dict.fromkeys(rows.columns, "text"), **added}
    read = answered = 0
    wait = Wait("predict")
    with written_table(target, columns) as write, answering(model, threads=thread_count(0)) as asked:
        while chunk := list(islice(rows.rows, CHUNK_ROWS[model.kind])):
            questions = [_question(row, rows, model.kind) for row in chunk]
            answers = iter(asked.ask([question for question, fault in questions if fault is None]))
            told = [{ERROR: fault} if fault else next(answers) for _, fault in questions]
            write([(*row.values, *_cells(answer, model, trained)) for row, answer in zip(chunk, told, strict=True)])
            read += len(chunk)
            answered += sum(ERROR not in answer for answer in told)
            wait.tell(read, rows.count)
    return Predicted(read, answered, tuple(added))


def _table(source: Path, target: Path, trained_input: str, data: Path) -> _Source:
    if source.resolve() == target.resolve():
        raise SettingsError(f"{target}: is the table that is read; name another one to write")
    if not source.exists():
        raise DataRefusedError(f"{source}: there is no such table or folder; correct the path")
    columns = tuple(read_header(source))
    if trained_input not in columns and len(columns) != 1:
        raise DataRefusedError(
            f"{source}: has no column {trained_input!r}, which the model was trained to read, and several others"
            f" ({', '.join(map(ascii, columns))}); rename the one that is meant to {trained_input}, or keep it alone"
        )
    place = columns.index(trained_input) if trained_input in columns else 0
    return _Source(
        columns, place, read_rows(source, columns, nested=_as_json_but(columns[place])), (source.parent.resolve(), data)
    )


def _as_json_but(trained_input: str) -> Nested:
    """What the model does not read is written as it is."""
    return lambda column, value: (refuse_nested if column == trained_input else nested_as_json)(column, value)


def _folder(source: Path, target: Path, kind: Kind) -> _Source:
    if kind == "text":
        raise DataRefusedError(f"{source}: is a folder, but the model reads texts; name a table")
    if target.resolve().is_relative_to(source.resolve()):
        raise SettingsError(f"{target}: lies in the folder that is read, where it would be a row; write it elsewhere")
    names = [path.relative_to(source).as_posix() for path in files_below(source)]
    if not names:
        raise DataRefusedError(f"{source}: holds no files; name a folder of pictures or sounds, or a table")
    rows = (Row(number, (name,)) for number, name in enumerate(names, start=1))
    return _Source((FILE,), 0, rows, (source.resolve(),), len(names))


def _added_columns(model: RegisteredModel, columns: Sequence[str]) -> dict[str, Type]:
    own: dict[str, Type] = {}
    for part in parts_of(model.outputs):
        labels = part.outputs.labels
        answers: dict[str, Type] = {ANSWER: "text" if labels else "number"}
        answers |= {f"{PROBABILITY}{label}": "number" for label in labels}
        own |= {column_of(part.name, name): of for name, of in answers.items()}
    own |= {ERROR: "text"}
    while own.keys() & set(columns):
        own = {f"{OURS}{name}": of for name, of in own.items()}
    return own


def _question(row: Row, source: _Source, kind: Kind) -> tuple[str, str | None]:
    """The row's input as the model is asked it, and why it cannot be, if so."""
    if row.fault:
        return "", f"line {row.line}: {row.fault}"
    value = row.values[source.input] or ""
    if not value.strip():
        return "", f"{source.columns[source.input]} is empty"
    if kind == "text":
        return value, None if _is_unicode(value) else "the text is not UTF-8"
    if Path(value).suffix.lower() not in SUFFIXES[kind]:
        return "", f"ends in {Path(value).suffix!a}, expected one of {', '.join(SUFFIXES[kind])}"
    faults = []
    for folder in source.folders:
        try:
            return base64.b64encode(read_below(folder, value)).decode(), None
        except UnreadableFileError as error:
            faults.append(str(error))
    return "", faults[0]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cells(answer: Mapping[str, Any], model: RegisteredModel, trained: Trained) -> list[Cell]:
    if ERROR in answer:
        words = PLACE.sub("", " ".join(str(answer[ERROR]).split()))
        nothing = (None for part in parts_of(model.outputs) for _ in (ANSWER, *part.outputs.labels))
        return [*nothing, shortened(words, SHOWN_CHARACTERS)]
    told = by_target(answer)
    cells = [cell for part in parts_of(model.outputs) for cell in _cells_of(told[part.name], part.outputs, trained)]
    return [*cells, None]


def _cells_of(answer: Mapping[str, Any], outputs: Outputs, trained: Trained) -> list[Cell]:
    """Those of one target."""
    if outputs.task == "regression":
        return [float(answer["value"])]
    shown = answer["label"] if outputs.task == "single_label" else trained.label_separator.join(answer["labels"])
    return [shown, *(float(answer["probabilities"][label]) for label in outputs.labels)]
