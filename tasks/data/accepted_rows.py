"""The accepted rows of one side of the split: their columns, and what they hold for a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graftline.settings import Kind
from graftline.tasks.step_folders import Workspace
from graftline.tasks.steps.validate_data import ACCEPTED, ValidatedData

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.models.preprocessing import Raw

DATA = "data"
# What inputs of each kind go through on their way into a model, beside what every model needs.
LIBRARIES_OF: dict[Kind, tuple[str, ...]] = {
    "text": ("tokenizers",),
    "image": ("timm", "torchvision", "pillow"),
    "audio": ("soundfile", "soxr"),
}


def read_split(data: ValidatedData, split: str, columns: Sequence[str]) -> dict[str, list[str]]:
    """The accepted rows on one side of the split, in file order, by column."""
    from pyarrow import parquet

    table = parquet.read_table(data.folder.path / ACCEPTED, columns=list(columns), filters=[("split", "=", split)])
    return {name: table.column(name).to_pylist() for name in columns}


def split_targets(data: ValidatedData, split: str) -> "Tensor":
    """The targets of one side of the split, in file order, as `read_targets` has them."""
    from graftline.models.outputs import read_targets

    return read_targets(read_split(data, split, ["target"])["target"], data.task, data.labels, data.label_separator)


def raw_inputs(workspace: Workspace, data: ValidatedData, split: str) -> "list[Raw]":
    """What a preprocessor takes: texts, or the validated files, which are read when their batch comes up."""
    if data.kind == "text":
        return list(read_split(data, split, ["input"])["input"])
    from graftline.models.media import Medium

    columns = ["input", "input_sha256", *(["seconds"] if data.kind == "audio" else [])]
    rows = read_split(data, split, columns)
    return [
        Medium(f"{DATA}/{name}", workspace.root / DATA / name, sha256, *seconds)
        for name, sha256, *seconds in zip(*rows.values(), strict=True)
    ]


def questions(workspace: Workspace, data: ValidatedData, split: str) -> list[str]:
    """What a registered model in another process is asked: texts, or the paths of the files."""
    inputs = read_split(data, split, ["input"])["input"]
    return inputs if data.kind == "text" else [str(workspace.root / DATA / name) for name in inputs]
