"""The accepted rows of one side are read some at a time, and are the same as if all were in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from graftline.data import column_parts
from graftline.data.columns import Column
from graftline.tasks.data import accepted_rows
from graftline.tasks.data.accepted_rows import (
    ACCEPTED,
    ValidatedData,
    places_with_target,
    questions,
    raw_inputs,
    read_split,
    split_numbers,
)
from graftline.tasks.data.files import DataVersion
from graftline.tasks.step_folders import StepFolder
from graftline.tasks.workspace import Workspace

ROWS = 50
# Every third row is held out; every fifth has no target.
HELD_OUT = range(0, ROWS, 3)
TEXTS = [f"text {'x' * row}\n{row}" for row in range(ROWS)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ValidatedData:
    """Rows that are read four at a time."""
    monkeypatch.setattr(accepted_rows, "BATCH_ROWS", 4)
    table = {
        "input": TEXTS,
        "target": [None if row % 5 == 0 else "ab"[row % 2] for row in range(ROWS)],
        "split": ["test" if row in HELD_OUT else "train" for row in range(ROWS)],
    }
    parquet.write_table(pa.table(table), tmp_path / ACCEPTED)
    return ValidatedData(
        folder=StepFolder(tmp_path, "key", "ran"), data=DataVersion("v", False, (), "d", tmp_path, "data"), read=ROWS,
        accepted=ROWS, quarantined=0, twins=0, kind="text", task="single_label", input="text", labels=("a", "b"),
        label_separator="|", split_rows={}, split_from="hash", split_sha256="", test_sha256="", sha256="",
        page=tmp_path, sample_bits=0, is_partial=True,
    )  # fmt: skip


def test_many_texts_lie_in_a_file_and_are_the_same(data: ValidatedData, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out, workspace = data.with_all_rows, Workspace(data.folder.path)
    expected = [TEXTS[row] for row in HELD_OUT]
    assert list(raw_inputs(workspace, held_out, "test")) == expected
    monkeypatch.setattr(column_parts, "MOST_BYTES", 0)
    many = raw_inputs(workspace, held_out, "test")
    assert isinstance(many, Column)
    assert len(list(many.arrays())) > 1
    assert list(many) == list(questions(workspace, held_out, "test")) == expected
    assert [many[place] for place in (16, 0, 7)] == [expected[place] for place in (16, 0, 7)]


def test_rows_without_the_target_are_none_of_its_rows(data: ValidatedData) -> None:
    with_target = [row for row in HELD_OUT if row % 5]
    assert [HELD_OUT[place] for place in places_with_target(data, "test")] == with_target
    assert read_split(data, "test", ["target"]) == {"target": ["ab"[row % 2] for row in with_target]}
    every = read_split(data.with_all_rows, "test", ["input", "target"])
    assert every["input"] == [TEXTS[row] for row in HELD_OUT]
    assert every["target"] == [None if row % 5 == 0 else "ab"[row % 2] for row in HELD_OUT]


def test_a_number_of_every_row_is_made_from_its_column(data: ValidatedData) -> None:
    lengths = split_numbers(data.with_all_rows, "test", "input", len, np.int32)
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [len(TEXTS[row]) for row in HELD_OUT]
