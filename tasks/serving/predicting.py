"""Answers of a registered model for a table or a folder of files: in constant memory, and going on after a kill."""

import base64
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.data.class_folders import SUFFIXES
from graftline.data.media_files import UnreadableFileError, read_below
from graftline.data.tables import Nested, Row, nested_as_json, read_header, read_rows, refuse_nested
from graftline.data.written_tables import Cell, Type, require_place_for_table
from graftline.digests import file_sha256
from graftline.errors import DataRefusedError, SettingsError
from graftline.files import names_below
from graftline.models.outputs import Outputs, by_target, column_of, parts_of
from graftline.settings import Kind
from graftline.tasks.own_code import all_code_sha256
from graftline.tasks.progress import Wait
from graftline.tasks.serving.answered_parts import AnsweredParts, ReadDigest, answered_parts
from graftline.tasks.serving.answering import RegisteredModel, answering
from graftline.tasks.serving.answering_there import answers_there
from graftline.tasks.tracking.model_files import COMPILED
from graftline.tasks.tracking.provenance import processor
from graftline.tasks.tracking.requirements import installed_libraries
from graftline.tasks.workers.fanout import workers
from graftline.wording import shortened

# Enough to fill a batch of each length; media are held whole.
CHUNK_ROWS: dict[Kind, int] = {"text": 512, "image": 32, "audio": 16}
# What a kill costs at most, in chunks: some seconds of a processor.
PART_CHUNKS = 20
# A chunk and a part end after the row by which they have so many characters, for they are in memory: a thousand pages
# in each row, or large pictures, would otherwise take gigabytes.
CHUNK_CHARACTERS, PART_CHARACTERS = 16 << 20, 64 << 20
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
    kept: int = 0
    """Rows of those read that an earlier run, which ended early, had written."""

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
    rows: Callable[[], Iterator[Row]]
    """From the first one on."""
    folders: tuple[Path, ...]
    """Files that rows name lie below one of these."""
    count: int | None = None
    """Of the rows, where it is known before they are read."""


@dataclass(frozen=True)
class _Chunk:
    """Some rows, and for each the model's input or why it has none."""

    rows: list[Row]
    questions: list[tuple[str, str | None]]

    @property
    def read(self) -> list[list[JsonValue]]:
        """All that the answers come from."""
        return [[*row.values, *question] for row, question in zip(self.rows, self.questions, strict=True)]

    @property
    def characters(self) -> int:
        """Of all that was read."""
        return sum(map(_characters, self.rows, self.questions))

    @property
    def asked(self) -> list[str]:
        """What the model is asked."""
        return [question for question, fault in self.questions if fault is None]

    def told(self, answers: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Row, Mapping[str, Any]]]:
        """The rows, each with its answer or its fault."""
        following = iter(answers)
        for row, (_, fault) in zip(self.rows, self.questions, strict=True):
            yield row, {ERROR: fault} if fault else next(following)


T = TypeVar("T")
# With the answers to what the model was asked.
_Answered: TypeAlias = tuple[_Chunk, list[dict[str, Any]]]


def predict_table(
    model: RegisteredModel,
    trained: Trained,
    source: Path,
    target: Path,
    *,
    data: Path,
    threads: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Predicted:
    """Write the rows of `source`, in their order, with the model's answers to `target`; this process alone writes.

    The model answers with so many processor threads (0: one per core) in a process of its own beside this one, or, in a
    block of `fanned_out`, in one beside each worker of a cluster.

    `source` is a table, or a folder of pictures or sounds; files that a table names lie beside it, or below `data`. A
    row that cannot be read, or that the model refuses, is written with an error in place of an answer. After a kill the
    same call goes on behind the rows that were written, and writes the same bytes as if it had not been killed.
    Raises: SettingsError, DataRefusedError for a table that is none; RegistryRefusedError if the model stops answering.
    """
    require_place_for_table(target)
    rows = _folder(source, target, model.kind) if source.is_dir() else _table(source, target, trained.input, data)
    added = _added_columns(model, rows.columns)
    columns: dict[str, Type] = {**dict.fromkeys(rows.columns, "text"), **added}
    threads = thread_count(threads)
    with answered_parts(target, _plan(model, trained, columns, threads), say) as parts:
        chunks = _behind(parts, rows, model.kind, say)
        kept = sum(part.read for part in parts.whole)
        with closing(_answered(chunks, model, threads)) as told:
            _write(told, rows.count, parts, lambda answer: _cells(answer, model, trained))
        read, answered = sum(part.read for part in parts.whole), sum(part.answered for part in parts.whole)
        parts.write_table(columns)
    return Predicted(read, answered, tuple(added), kept)


def _plan(model: RegisteredModel, trained: Trained, columns: Mapping[str, Type], threads: int) -> JsonValue:
    """What the answers depend on apart from the rows."""
    files = names_below(model.folder)
    return {
        # Servers leave bytecode in the folder of a version.
        "files": {name: file_sha256(model.folder / name) for name in files if COMPILED not in Path(name).parts},
        "code_sha256": all_code_sha256(),
        "libraries": dict(sorted(installed_libraries().items())),
        "processor": processor(),
        "threads": threads,
        "runtime": model.runtime,
        "trained": asdict(trained),
        "columns": list(columns),
        "rows": [CHUNK_ROWS[model.kind], PART_CHUNKS, CHUNK_CHARACTERS, PART_CHARACTERS],
    }


def _behind(parts: AnsweredParts, source: _Source, kind: Kind, say: Callable[[str], None]) -> Iterator[_Chunk]:
    """The chunks of the source behind those that the parts were made of; where it was changed since, all of them."""
    chunks = _chunks(source, kind)
    for part in parts.whole:
        if not _digest(_of_part(chunks, lambda chunk: chunk)).of_part(part):
            say("predict: what is read was changed since the last run ended early: beginning anew")
            parts.forget()
            return _chunks(source, kind)
    if parts.whole:
        say(f"predict: going on behind {sum(part.read for part in parts.whole):,} rows that were answered before")
    return chunks


def _digest(chunks: Iterable[_Chunk]) -> ReadDigest:
    digest = ReadDigest()
    for chunk in chunks:
        digest.add(chunk.read)
    return digest


def _chunks(source: _Source, kind: Kind) -> Iterator[_Chunk]:
    rows = ((row, _question(row, source, kind)) for row in source.rows())
    while some := list(_up_to(rows, CHUNK_ROWS[kind], CHUNK_CHARACTERS, lambda one: _characters(*one))):
        yield _Chunk([row for row, _ in some], [question for _, question in some])


def _characters(row: Row, question: tuple[str, str | None]) -> int:
    """Of all that was read; a text counts twice, for the model is asked it, too."""
    return sum(len(value) for value in (*row.values, *question) if value)


def _of_part(chunks: Iterator[T], chunk_of: Callable[[T], _Chunk]) -> Iterator[T]:
    """Those of one part."""
    return _up_to(chunks, PART_CHUNKS, PART_CHARACTERS, lambda one: chunk_of(one).characters)


def _up_to(items: Iterator[T], most: int, characters: int, size: Callable[[T], int]) -> Iterator[T]:
    """At most so many, and none behind the one by which they come to so many characters."""
    total = 0
    for item in islice(items, most):
        yield item
        total += size(item)
        if total >= characters:
            return


def _answered(chunks: Iterator[_Chunk], model: RegisteredModel, threads: int) -> Generator[_Answered, None, None]:
    """The chunks with their answers, here or by workers, who are not worth the way for one chunk alone."""
    some = list(islice(chunks, 2))
    chunks = chain(some, chunks)
    if len(some) > 1 and workers().many:
        under_way = deque[_Chunk]()
        answers = answers_there(model, _asked(chunks, under_way), threads=threads)
        yield from ((under_way.popleft(), answer) for answer in answers)
        return
    with answering(model, threads=threads) as asked:
        yield from ((chunk, asked.ask(chunk.asked)) for chunk in chunks)


def _asked(chunks: Iterable[_Chunk], under_way: deque[_Chunk]) -> Iterator[list[str]]:
    for chunk in chunks:
        under_way.append(chunk)
        yield chunk.asked


def _write(
    answered: Iterator[_Answered],
    count: int | None,
    parts: AnsweredParts,
    cells: Callable[[Mapping[str, Any]], list[Cell]],
) -> None:
    """Write part after part until there are no more chunks."""
    wait, read = Wait("predict"), sum(part.read for part in parts.whole)

    def written(first: _Answered, digest: ReadDigest) -> Iterator[list[list[Cell]]]:
        for chunk, answers in _of_part(chain([first], answered), lambda one: one[0]):
            digest.add(chunk.read)
            yield [[*row.values, *cells(answer)] for row, answer in chunk.told(answers)]
            wait.tell(read + digest.rows, count)

    while first := next(answered, None):
        digest = ReadDigest()
        read += parts.add(written(first, digest), digest).read


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
        columns,
        place,
        lambda: read_rows(source, columns, nested=_as_json_but(columns[place])),
        (source.parent.resolve(), data),
    )


def _as_json_but(trained_input: str) -> Nested:
    """What the model does not read is written as it is."""
    return lambda column, value: (refuse_nested if column == trained_input else nested_as_json)(column, value)


def _folder(source: Path, target: Path, kind: Kind) -> _Source:
    if kind == "text":
        raise DataRefusedError(f"{source}: is a folder, but the model reads texts; name a table")
    if target.resolve().is_relative_to(source.resolve()):
        raise SettingsError(f"{target}: lies in the folder that is read, where it would be a row; write it elsewhere")
    count = sum(1 for _ in names_below(source))
    if not count:
        raise DataRefusedError(f"{source}: holds no files; name a folder of pictures or sounds, or a table")
    return _Source(
        (FILE,),
        0,
        lambda: (Row(number, (name,)) for number, name in enumerate(names_below(source), start=1)),
        (source.resolve(),),
        count,
    )


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
