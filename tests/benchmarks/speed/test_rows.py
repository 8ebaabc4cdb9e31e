"""The benchmark of rows: the same texts each time, and what it counts."""

import csv
from pathlib import Path

import pytest

from benchmarks.speed import rows


def test_the_texts_are_the_same_each_time_and_of_all_kinds(tmp_path: Path) -> None:
    for name in ("one", "other"):
        rows.write_texts(tmp_path / name / "table.csv", 1_000)
    one, other = ((tmp_path / name / "table.csv").read_text(encoding="utf-8") for name in ("one", "other"))
    assert one == other
    texts = [row["text"] for row in csv.DictReader(one.splitlines())]
    assert len(texts) == 1_000
    assert sum("(number" in text for text in texts) == 200
    assert 0 < sum("xq" in text.split() for text in texts) < 50


def test_hashes_near_each_other_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PICTURES", 600)
    varied, alike = rows.compare(rows.varied), rows.compare(rows.alike)
    assert 10 < varied.found < 150 < alike.found < 200
    assert varied.peak_mb > 10


@pytest.mark.long
def test_a_table_is_validated_in_a_process_of_its_own(tmp_path: Path) -> None:
    rows.write_texts(tmp_path / "data" / "table.csv", 1_000)
    first, again = (rows.in_fresh_process(rows.validate, tmp_path) for _ in range(2))
    assert first.peak_mb > again.peak_mb > 10  # the second imports no Great Expectations
    assert first.found == again.found
