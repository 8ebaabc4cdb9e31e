"""The accepted rows of one side of the split: their columns, and what they hold for a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from graftline.data.row_facts import further_role
from graftline.digests import json_sha256
from graftline.settings import Kind, Task
from graftline.tasks.data.files import DataVersion
from graftline.tasks.step_folders import StepFolder
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from torch import Tensor

    from graftline.data.columns import Column
    from graftline.evaluation.metrics import Integers
    from graftline.models.preprocessing import Raw

ACCEPTED = "accepted.parquet"
# The values of data.group, where that is set: a row without one is not accepted.
GROUP = "group"
# So many rows are Python's objects at a time, and so much of each column lies in memory before it is read.
BATCH_ROWS, BUFFER_BYTES = 10_000, 1 << 20
# The libraries that inputs of each kind go through on their way into a model, beside what every model needs.
READING_LIBRARIES: dict[Kind, tuple[str, ...]] = {
    "text": ("tokenizers",),
    "image": ("timm", "torchvision", "pillow"),
    "audio": ("soundfile", "soxr"),
}


@dataclass(frozen=True)
class FurtherRows:
    """A target beside the first one, and the rows that have it."""

    name: str
    task: Task
    labels: tuple[str, ...]
    split_rows: Mapping[str, int]
    test_sha256: str


@dataclass(frozen=True)
class ValidatedData:
    """The rows that are fit to be learned from, where they lie, and how they are split.

    Of several targets it shows the first one and its rows; `of_target` shows another.
    """

    folder: StepFolder
    data: DataVersion
    read: int
    accepted: int
    quarantined: int
    twins: int
    """Accepted rows that are on no side: held-out ones that nearly are a row to learn from."""
    kind: Kind
    task: Task
    input: str
    """The column that the model reads; its kind where the rows are the files of class folders."""
    labels: tuple[str, ...]
    """In the order of the model's outputs; none for regression."""
    label_separator: str
    """Stands between the labels of a multi_label target."""
    split_rows: dict[str, int]
    split_from: str
    """What says on which side a row lies: hash, or the folders that the data came in."""
    split_sha256: str
    """The digest of every accepted row's name and side."""
    test_sha256: str
    """The digest of the held-out rows: names, inputs and labels."""
    sha256: str
    """The digest of all accepted rows and of what they mean: from equal ones equal results are made."""
    page: Path
    sample_bits: int
    """How many bits a picture of 16 bits a sample uses, if it does not say so itself."""
    is_partial: bool = False
    """Whether accepted rows may lack the target: those that do are none of its rows."""
    target: str | None = None
    """Which of `data.targets` it shows; None: the first target."""
    further: tuple[FurtherRows, ...] = ()
    """The targets that are learned beside this one."""

    @property
    def alone(self) -> "ValidatedData":
        """The first target as if it were the only one."""
        if not self.further:
            return self
        return replace(self, further=(), sha256=json_sha256([self.sha256, None]))

    def of_target(self, name: str) -> "ValidatedData":
        """A further target as if it were the only one."""
        (one,) = (further for further in self.further if further.name == name)
        return replace(
            self,
            task=one.task,
            labels=one.labels,
            split_rows=dict(one.split_rows),
            test_sha256=one.test_sha256,
            sha256=json_sha256([self.sha256, name]),
            target=name,
            further=(),
        )

    @property
    def targets(self) -> "dict[str, ValidatedData]":
        """Every further target as if it were the only one, by its name."""
        return {one.name: self.of_target(one.name) for one in self.further}

    @property
    def with_all_rows(self) -> "ValidatedData":
        """With those rows, too, that lack the first target."""
        return replace(self, is_partial=False)


def read_split(data: ValidatedData, split: str, columns: Sequence[str]) -> dict[str, list[str]]:
    """The accepted rows on one side of the split, in file order, by column. Twins are on none."""
    found: dict[str, list[str]] = {name: [] for name in columns}
    for some in batches_of_split(data, split, columns):
        for name, values in some.items():
            found[name] += values
    return found


def batches_of_split(data: ValidatedData, split: str, columns: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """The same, some rows at a time: all of them need not be in memory."""
    for batch in _arrow_batches(data, split, columns):
        yield {name: _values(batch.column(name)) for name in columns}


def _arrow_batches(data: ValidatedData, split: str, columns: Sequence[str]) -> "Iterator[pa.Table]":
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    target = "target" if data.target is None else further_role(data.target)
    names = {name: target if name == "target" else name for name in columns}
    read = list(dict.fromkeys(["split", *([target] if data.is_partial else []), *names.values()]))
    with parquet.ParquetFile(data.folder.path / ACCEPTED, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=read):
            wanted = pc.equal(batch.column("split"), split)
            if data.is_partial:
                wanted = pc.and_(wanted, batch.column(target).is_valid())
            some = batch.filter(wanted)
            yield pa.table({name: some.column(column) for name, column in names.items()})
            # Arrow would keep several times what it has in use.
            pa.default_memory_pool().release_unused()


def _values(column: "pa.ChunkedArray") -> list[Any]:
    """As Python's objects: those of a label or a group, of which there are few, each once."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        if len(encoded.dictionary) < len(encoded) // 2:
            each = encoded.dictionary.to_pylist()
            return [each[place] if place is not None else None for place in encoded.indices.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def split_numbers(
    data: ValidatedData, split: str, column: str, number: "Callable[[Any], float]", dtype: "type[np.number[Any]]"
) -> "NDArray[Any]":
    """A number of every row, made from one column: (rows,). The column itself need not be in memory."""
    import numpy as np

    parts = (some[column] for some in batches_of_split(data, split, [column]))
    return np.concatenate([np.fromiter(map(number, values), dtype, len(values)) for values in parts])


def split_targets(data: ValidatedData, split: str) -> "Tensor":
    """The targets of one side of the split, in file order, as the task's `outputs.read` has them."""
    import torch

    from graftline.answers.tasks import TASKS

    read = TASKS[data.task].outputs.read
    some = (rows["target"] for rows in batches_of_split(data, split, ["target"]))
    parts = [read(targets, data.labels, data.label_separator) for targets in some if targets]
    return torch.cat(parts) if parts else read([], data.labels, data.label_separator)


def places_with_target(data: ValidatedData, split: str) -> "Integers":
    """The places of this target's rows among all on that side of the split: (rows,)."""
    import numpy as np

    batches = _arrow_batches(data.with_all_rows, split, ["target"])
    return np.flatnonzero(np.concatenate([some.column("target").is_valid().to_numpy() for some in batches]))


def raw_inputs(workspace: Workspace, data: ValidatedData, split: str) -> "Sequence[Raw]":
    """The inputs for a preprocessor: texts, or the validated files, which are read when their batch comes up.

    Many texts lie in a file without a name: they are quickly read one after the other, and slowly by their places.
    """
    return _texts(data, split) if data.kind == "text" else list(streamed_inputs(workspace, data, split))


def _texts(data: ValidatedData, split: str) -> "Column":
    import pyarrow as pa

    from graftline.data.column_parts import FiledParts
    from graftline.data.columns import Column

    parts = FiledParts()
    for some in _arrow_batches(data, split, ["input"]):
        parts.add(some.column("input").combine_chunks())
    return Column(parts.done(pa.string()))


def streamed_inputs(workspace: Workspace, data: ValidatedData, split: str) -> "Iterator[Raw]":
    """The same, of which those that were given out need not be in memory any more."""
    if data.kind == "text":
        for some in batches_of_split(data, split, ["input"]):
            yield from some["input"]
        return
    from graftline.models.media import Medium

    columns = ["input", "input_sha256", *(["seconds"] if data.kind == "audio" else [])]
    folder = data.data.folder
    for some in batches_of_split(data, split, columns):
        for name, sha256, *seconds in zip(*some.values(), strict=True):
            yield Medium(f"{folder}/{name}", workspace.root / folder / name, sha256, *seconds)


def questions(workspace: Workspace, data: ValidatedData, split: str) -> "Sequence[str | Path]":
    """The inputs as a registered model in another process is asked them: texts, or the paths of the files."""
    texts = cast("Sequence[str]", _texts(data, split))
    return texts if data.kind == "text" else [workspace.root / data.data.folder / name for name in texts]
