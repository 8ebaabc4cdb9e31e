"""Rows of several targets: some may be lacking, a faulty one makes a faulty row, each target has its own classes."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

# Read when Great Expectations is imported.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from graftline.digests import file_sha256
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, read_split, split_targets
from graftline.tasks.data.files import DataVersion
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.several_targets import ROWS, TARGETS, rows_as_csv


def run(root: Path, content: str, **settings: object) -> ValidatedData:
    path = root / "data" / "rows.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    chosen = {"path": "data/rows.csv", "id": "id", "test_share": 0.25, "min_rows_per_class": 5, "targets": TARGETS}
    data = DataSettings.model_validate({**chosen, **settings})
    return validate_data.fn(Workspace(root), data, DataVersion("v" * 32, False, (), file_sha256(path), path))


def with_rows(*rows: tuple[str, ...]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return rows_as_csv() + text.getvalue()


def test_a_row_may_lack_some_targets_and_is_a_row_of_those_that_it_has(tmp_path: Path) -> None:
    content = with_rows(
        ("x1", "a film of little", "good", "much", "bad", "s0"), ("x2", "nothing to see", "good", "1.0", "ugly", "s0")
    )
    data = run(tmp_path, content, max_quarantined=0.02)
    lines = (data.folder.path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert {row["row_id"]: row["reasons"] for row in map(json.loads, lines)} == {
        f"r{ROWS}": ["some_target_present: 'none of label, rating, words is there'"],
        "x1": ["rating_target_number: \"'much' is no finite number, expected one such as 0.5 or -3e2\""],
        "x2": ["words_target_known: 'ugly'"],
    }
    assert (data.accepted, sum(data.split_rows.values()) + data.twins) == (ROWS, sum(data.split_rows.values()))
    assert sum(data.split_rows.values()) == ROWS * 4 // 5
    assert (data.task, data.labels) == ("single_label", ("bad", "good"))
    own = data.targets
    assert [(one.task, one.labels) for one in own.values()] == [("regression", ()), ("multi_label", ("bad", "good"))]
    for one in (data, *own.values()):
        targets, places = split_targets(one, "test"), places_with_target(one, "test")
        assert len(targets) == len(places) == one.split_rows["test"]
        every = read_split(data.with_all_rows, "test", ["row_id"])["row_id"]
        assert [every[place] for place in places] == read_split(one, "test", ["row_id"])["row_id"]
    assert len({data.sha256, data.alone.sha256, *(one.sha256 for one in own.values())}) == 4
    assert len({data.test_sha256, *(one.test_sha256 for one in own.values())}) == 3


def test_a_class_of_a_further_target_with_too_few_rows_refuses_the_data(tmp_path: Path) -> None:
    refused = "words_class_rows (expected that 'words': every class has at least 100 accepted rows"
    with pytest.raises(DataRefusedError) as error:
        run(tmp_path, rows_as_csv(), min_rows_per_class=100)
    assert any(cause.startswith(refused) for cause in error.value.causes)


def test_equal_inputs_with_two_answers_for_a_further_target_are_faulty(tmp_path: Path) -> None:
    content = with_rows(
        ("x1", "one and the same", "good", "1", "bad", "s"), ("x2", "one and the same", "good", "2", "good", "s")
    )
    data = run(tmp_path, content, max_quarantined=0.02)
    quarantined = (data.folder.path / "quarantine.jsonl").read_text(encoding="utf-8")
    assert "has the same input with label 'good'" in quarantined


def test_without_more_targets_nothing_is_written_about_them(tmp_path: Path) -> None:
    content = "".join(
        line + "\n" for line in rows_as_csv().splitlines() if ",good," in line or ",bad," in line or "id," in line
    )
    data = run(tmp_path, content, targets=[], max_quarantined=0.5)
    assert not data.is_partial
    assert data.alone is data
    assert "further" not in json.loads((data.folder.path / "summary.json").read_text(encoding="utf-8"))
