"""Validation looks at some rows at a time, finds the same as in all, and holds a few bytes a row."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftline.data import column_parts, columns, near_duplicates, row_facts, row_table, twins
from graftline.digests import file_sha256
from graftline.settings import DataSettings
from graftline.tasks.data import row_frames, set_findings
from graftline.tasks.data.accepted_rows import ACCEPTED
from graftline.tasks.data.files import DataVersion
from graftline.tasks.steps import accepted_table
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.tasks.steps.test_validate_data import Table, fit_rows, quarantine, run

FEW, MANY = 300, 600
# Each text has so many bytes at least. A batch, and what is judged and written at a time, are made small below.
TEXT_BYTES = 1_500
AT_ONCE = 100
# Names are, and held-out texts, for their digest: one in twenty here.
MOST_KEPT = 0.25

# Arrow's own may outlive a test, and ask their pool for more.
POOLS: list[pa.MemoryPool] = []


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (columns, near_duplicates, row_facts, row_frames, row_table, set_findings, accepted_table, twins):
        monkeypatch.setattr(module, "BATCH_ROWS", AT_ONCE)
    monkeypatch.setattr(row_frames, "JUDGED_ROWS", 3 * AT_ONCE)
    monkeypatch.setattr(accepted_table, "WRITTEN_ROWS", AT_ONCE)
    monkeypatch.setattr(column_parts, "MOST_BYTES", 0)


def peak_bytes(root: Path, rows: int) -> int:
    """The most that Arrow, in which all columns are, held at any time."""
    table = root / "data" / "table.csv"
    table.parent.mkdir(parents=True)
    source = random.Random(1)
    long = [[one, source.randbytes(TEXT_BYTES // 2).hex(), *rest] for one, _, *rest in fit_rows(rows)]
    table.write_bytes(Table(long).csv())
    version = DataVersion("v" * 32, False, (), file_sha256(table), table)
    del long
    before = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    POOLS.append(counted)
    pa.set_memory_pool(counted)
    try:
        settings = DataSettings(path="data/table.csv", id="id", max_twins=1, test_share=0.05, validation_share=0.05)
        assert validate_data.fn(Workspace(root), settings, version).accepted == rows
        return counted.max_memory() or 0
    finally:
        pa.set_memory_pool(before)


def test_more_texts_take_no_more_memory(tmp_path: Path, small_batches: None) -> None:
    few, many = peak_bytes(tmp_path / "few", FEW), peak_bytes(tmp_path / "many", MANY)
    assert many - few < MOST_KEPT * TEXT_BYTES * (MANY - FEW), f"{(many - few) / (MANY - FEW):.0f} bytes a row"


def test_the_same_is_found_and_written_whatever_is_looked_at_at_once(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows = fit_rows(400)
    rows[3][0], rows[390][0] = rows[200][0], rows[7][0]  # equal names, far from each other
    rows[5][1], rows[350][1], rows[11][1], rows[12][1] = rows[300][1], rows[6][1], "", "\u200b"
    rows[20][2], rows[30][2], rows[40][0] = "unknown", "", ""
    content = Table(rows).csv() + b'x,"not closed\n'
    for name in ("at once", "in parts"):
        (tmp_path / name).mkdir()
    at_once = run(tmp_path / "at once", content)
    request.getfixturevalue("small_batches")
    in_parts = run(tmp_path / "in parts", content)
    for name in ("validation.json", "quarantine.jsonl", "twins.jsonl", "validation.html"):
        assert (in_parts.folder.path / name).read_bytes() == (at_once.folder.path / name).read_bytes()
    written = [parquet.read_table(result.folder.path / ACCEPTED) for result in (at_once, in_parts)]
    assert written[0].equals(written[1])
    assert in_parts.split_sha256 == at_once.split_sha256
    assert len(quarantine(at_once)) == 12
