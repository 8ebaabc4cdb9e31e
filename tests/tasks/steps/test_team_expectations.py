"""What a team expects of its own columns is run with ours and decided the same way."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.tasks.data.accepted_rows import ValidatedData
from tests.tasks.steps.test_validate_data import Table, fit_rows, quarantine, refused, run

HEADER = ("id", "text", "label", "stars")
BETWEEN: JsonValue = {
    "expect": "column_values_to_be_between", "column": "stars", "min_value": 1, "max_value": 5,
    "why": "the form has five",
}  # fmt: skip


def rows(*stars: str) -> bytes:
    """A table without a fault, whose first rows have these stars and all others three."""
    cells = fit_rows()
    for place, row in enumerate(cells):
        row[3] = stars[place] if place < len(stars) else "3"
    return Table(cells).csv(HEADER)


def expect(root: Path, *entries: JsonValue) -> None:
    (root / "expectations.yaml").write_text(yaml.safe_dump(list(entries)), encoding="utf-8")


def checks(result: ValidatedData) -> dict[str, bool]:
    found = json.loads((result.folder.path / "validation.json").read_text())
    return {check["name"]: check["success"] for check in found if check["source"]}


def test_a_row_that_does_not_meet_it_goes_to_quarantine_with_its_reason(tmp_path: Path) -> None:
    expect(tmp_path, BETWEEN)
    result = run(tmp_path, rows("1", "7", "", "five", "nan", "1e999", "5"))
    assert quarantine(result) == {
        3: ["stars_values_to_be_between: 7.0"],
        5: ["stars_is_number: 'five'"],
        6: ["stars_is_number: 'nan'"],
        7: ["stars_is_number: '1e999'"],
    }  # fmt: skip
    assert "the form has five" in result.page.read_text(encoding="utf-8")


def test_its_faulty_rows_count_in_the_share_that_may_be_faulty(tmp_path: Path) -> None:
    expect(tmp_path, BETWEEN)
    sentence = refused(tmp_path, rows(*["9"] * 30), "quarantined_share")
    assert "30 of 120 faulty, such as line 2: 9.0" in sentence


def test_a_set_that_does_not_meet_it_is_refused_whole(tmp_path: Path) -> None:
    expect(tmp_path, {**BETWEEN, "level": "set"} if isinstance(BETWEEN, dict) else None)
    refused(tmp_path, rows("7"), r"stars_values_to_be_between .*at least 1 and at most 5 \(the form has five\)")


@pytest.mark.parametrize(
    ("entry", "stars", "holds"),
    [
        ({"expect": "column_mean_to_be_between", "column": "stars", "min_value": 2.9, "max_value": 3.1}, ["3"], True),
        ({"expect": "column_mean_to_be_between", "column": "stars", "max_value": 3}, ["9"], False),
        ({"expect": "column_max_to_be_between", "column": "stars", "max_value": 3}, ["3", "10"], False),
        ({"expect": "column_distinct_values_to_equal_set", "column": "stars", "value_set": [3, 4]}, ["4.0"], True),
        ({"expect": "column_distinct_values_to_equal_set", "column": "stars", "value_set": ["3", "4"]}, ["4.0"], False),
        ({"expect": "column_values_to_not_be_null", "column": "stars", "mostly": 0.99}, [""], True),
        ({"expect": "column_values_to_not_be_null", "column": "stars", "mostly": 0.99}, ["", ""], False),
        ({"expect": "column_unique_value_count_to_be_between", "column": "stars", "min_value": 2}, ["2"], True),
        ({"expect": "table_row_count_to_equal", "value": 120}, [], True),
        ({"expect": "table_row_count_to_be_between", "min_value": 121}, [], False),
        ({"expect": "column_median_to_be_between", "column": "stars", "min_value": 0}, [""] * 120, False),
    ],
)
def test_what_looks_at_a_whole_column_sees_all_of_it(
    tmp_path: Path, entry: JsonValue, stars: list[str], holds: bool
) -> None:
    expect(tmp_path, entry)
    if holds:
        assert all(checks(run(tmp_path, rows(*stars))).values())
    else:
        refused(tmp_path, rows(*stars), "the data was refused")


@pytest.mark.parametrize(
    ("entry", "stars", "lines"),
    [
        ({"expect": "column_values_to_be_in_set", "column": "stars", "value_set": ["3", "4"]}, ["4", "04"], [3]),
        ({"expect": "column_values_to_be_in_set", "column": "stars", "value_set": [3, 4]}, ["4", "04", "5"], [4]),
        ({"expect": "column_values_to_match_regex", "column": "stars", "regex": "^[0-9]$"}, ["4", "44"], [3]),
        ({"expect": "column_value_lengths_to_equal", "column": "stars", "value": 1}, ["4", "44"], [3]),
        ({"expect": "expect_column_values_to_not_be_null", "column": "stars"}, ["", "4"], [2]),
        ({"expect": "column_pair_values_to_be_equal", "column_A": "stars", "column_B": "label"}, ["bad", "bad"], None),
        ({"expect": "compound_columns_to_be_unique", "column_list": ["id", "stars"]}, ["4"], []),
    ],
)
def test_what_looks_at_each_value_finds_the_rows(
    tmp_path: Path, entry: JsonValue, stars: list[str], lines: list[int] | None
) -> None:
    expect(tmp_path, entry)
    if lines is None:
        refused(tmp_path, rows(*stars), '119 of 120 faulty, such as line 3: "bad, '.replace('"', "'"))
    else:
        assert list(quarantine(run(tmp_path, rows(*stars)))) == lines


def test_a_pattern_that_backtracks_for_ever_elsewhere_is_done_at_once(tmp_path: Path) -> None:
    """Python's own engine would need longer than the universe is old, and the test would not end."""
    expect(tmp_path, {"expect": "column_values_to_match_regex", "column": "stars", "regex": "^(a+)+$"})
    assert 2 in quarantine(run(tmp_path, rows("a" * 200 + "b", *["a"] * 119)))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"expect": "column_values_to_be_betwen", "column": "stars"}, r"did you mean column_values_to_be_between\?"),
        ({"expect": "column_values_to_be_between", "column": "stars", "minvalue": 1}, r"did you mean min_value\?"),
        ({"expect": "column_values_to_be_between", "column": "stars"}, "needs min_value or max_value"),
        ({"expect": "column_values_to_be_between", "min_value": 1}, "column is None, expected the name of a column"),
        ({"expect": "column_values_to_be_between", "column": "stars", "min_value": "1"}, "expected a finite number"),
        ({"expect": "column_values_to_be_between", "column": "stars", "min_value": 2, "max_value": 1}, "exchange them"),
        ({"expect": "column_values_to_be_in_set", "column": "stars", "value_set": [True]}, "in quotes"),
        ({"expect": "column_values_to_match_regex", "column": "stars", "regex": "(?=a)b"}, "as RE2 reads it"),
        ({"expect": "column_mean_to_be_between", "column": "stars", "min_value": 1, "level": "row"}, "whole column"),
        ({"expect": "column_values_to_not_be_null", "column": "stars", "mostly": 0.9, "level": "row"}, "all rows"),
        ({"expect": "column_values_to_not_be_null", "column": "stars", "row_condition": "id > 1"}, "'row_condition'"),
        ({"expect": "UnexpectedRowsExpectation", "unexpected_rows_query": "SELECT 1"}, "there is no expectation"),
        ({"column": "stars"}, "does not say what to expect"),
        ("stars", "is no expectation"),
    ],
)  # fmt: skip
def test_a_faulty_entry_is_told_in_one_sentence(tmp_path: Path, entry: JsonValue, text: str) -> None:
    expect(tmp_path, entry)
    with pytest.raises(SettingsError, match=rf"expectations\.yaml, entry 1.*{text}"):
        run(tmp_path, rows())


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    expect(tmp_path, {"expect": "column_values_to_not_be_null", "column": "star"})
    text = r"'star' that expectations\.yaml, entry 1 names; columns: 'id', .*; did you mean 'stars'\?"
    refused(tmp_path, rows(), text)


def test_the_finished_step_keeps_the_suite_which_can_be_added_to(tmp_path: Path) -> None:
    expect(tmp_path, BETWEEN)
    first = run(tmp_path, rows("7"))
    kept = json.loads((first.folder.path / "suite.json").read_text())
    written = next(one for one in kept["expectations"] if one["meta"]["name"] == "stars_values_to_be_between")
    assert written["type"] == "expect_column_values_to_be_between"
    assert written["kwargs"] == {"column": "stars", "min_value": 1.0, "max_value": 5.0}
    assert len(kept["expectations"]) > 20  # ours
    checkpoint = json.loads((first.folder.path / "checkpoint.json").read_text())
    by_frame = {one["name"]: one["suite"]["expectations"] for one in checkpoint["validation_definitions"]}
    assert {"target_known", "stars_values_to_be_between"} <= set(by_frame["rows"])

    (tmp_path / "expectations.yaml").unlink()
    (tmp_path / "gx_suite.json").write_text(json.dumps(kept))
    second = run(tmp_path, rows("7"))
    assert second.folder.outcome == "ran"
    assert quarantine(second) == quarantine(first) == {2: ["stars_values_to_be_between: 7.0"]}
    assert set(checks(second)) == {"stars_column_present", "stars_is_number", "stars_values_to_be_between"}


def test_a_suite_as_great_expectations_writes_it_is_read(tmp_path: Path) -> None:
    import great_expectations as gx

    wanted = gx.expectations.ExpectColumnValuesToBeInSet(column="stars", value_set=[1, 2, 3])
    suite = gx.ExpectationSuite(name="mine", expectations=[wanted])
    (tmp_path / "gx_suite.json").write_text(json.dumps(suite.to_json_dict()))
    assert list(quarantine(run(tmp_path, rows("4")))) == [2]


def test_a_changed_file_is_another_step_and_an_untouched_one_the_same(tmp_path: Path) -> None:
    outcomes = []
    for bounds in ({}, {}, {"max_value": 4}):
        expect(tmp_path, {"expect": "column_values_to_be_between", "column": "stars", "min_value": 1, **bounds})
        outcomes.append(run(tmp_path, rows()).folder.outcome)
    assert outcomes == ["ran", "reused", "ran"]
