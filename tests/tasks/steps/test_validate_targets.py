"""Several labels per row, and numbers: faulty targets are quarantined rows, what cannot be learned is refused."""

import csv
import datetime
import io
import json
import os
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

# Read when Great Expectations is imported.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from graftline.digests import file_sha256
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace

LABELS = ("sad", "long", "loud")
SUBJECTS = ("plot", "cast", "score", "ending", "dialogue", "pacing", "camera", "villain", "humour", "opening")


def texts(count: int = 120) -> list[str]:
    return [f"{SUBJECTS[n % 10]} of film {n} seen on day {n * 7}" for n in range(count)]


def several(number: int) -> str:
    """Each of the eight sets of three labels in turn."""
    return "|".join(label for place, label in enumerate(LABELS) if number >> place & 1) or "|"


def run(root: Path, rows: list[tuple[str, str]], task: str, **settings: object) -> ValidatedData:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("text", "label"), *rows])
    return run_file(root, text.getvalue().encode(), "table.csv", task, **settings)


def run_file(root: Path, content: bytes, name: str, task: str, **settings: object) -> ValidatedData:
    path = root / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    chosen = {"path": f"data/{name}", "task": task, "max_quarantined": 0.2, "min_rows_per_class": 5, **settings}
    data = DataSettings.model_validate(chosen)
    return validate_data.fn(Workspace(root), data, DataVersion("v" * 32, False, (), file_sha256(path), path))


def targets(result: ValidatedData) -> list[str]:
    found: list[str] = parquet.read_table(result.folder.path / "accepted.parquet")["target"].to_pylist()
    return found


def quarantine(result: ValidatedData) -> dict[int, list[str]]:
    lines = (result.folder.path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["line"]: row["reasons"] for row in map(json.loads, lines)}


def test_rows_with_several_labels_are_counted_for_each(tmp_path: Path) -> None:
    rows = [(text, several(number)) for number, text in enumerate(texts())]
    result = run(tmp_path, rows, "multi_label")
    assert (result.task, result.labels, result.label_separator) == ("multi_label", ("long", "loud", "sad"), "|")
    assert targets(result)[:4] == ["|", "sad", "long", "long|sad"]
    page = result.page.read_text(encoding="utf-8")
    assert page.count('<td class="number">60</td><td class="number">50.0%</td>') == 3


def test_each_faulty_list_of_labels_is_quarantined_with_its_reasons(tmp_path: Path) -> None:
    empty = "\"an empty label in 'sad||long'; the separator alone says that there is none\""
    faulty = {
        "target_present: missing": "",
        f"target_well_formed: {empty}": "sad||long",
        "target_well_formed: \"the label 'sad' twice\"": "sad|sad",
        "target_known: 'lod'; did you mean 'loud'?": "long|lod",
    }
    rows = [(text, several(number)) for number, text in enumerate(texts())]
    rows += [(f"another text number {number}", target) for number, target in enumerate(faulty.values())]
    found = quarantine(run(tmp_path, rows, "multi_label", labels=list(LABELS)))
    assert found == {line: [reason] for line, reason in enumerate(faulty, start=122)}


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_lists_are_labels_where_there_may_be_several(tmp_path: Path, name: str) -> None:
    lists: list[list[str] | None] = [[label for label in several(number).split("|") if label] for number in range(120)]
    lists[5:8] = [None, ["sad|long"], ["sad", ""]]
    result = run_file(tmp_path, table_of(name, lists), name, "multi_label")
    assert targets(result)[:5] == ["|", "sad", "long", "long|sad", "loud"]
    assert [reasons[0].partition(":")[0] for reasons in quarantine(result).values()] == [
        "target_present", "row_readable", "row_readable",
    ]  # fmt: skip
    with pytest.raises(DataRefusedError, match=r"several labels belong to data.task multi_label|'list of text'"):
        run_file(tmp_path, table_of(name, lists), name, "single_label")


def table_of(name: str, lists: list[list[str] | None]) -> bytes:
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps({"text": t, "label": one}) for t, one in zip(texts(), lists, strict=True)).encode()
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": texts(), "label": pa.array(lists, pa.list_(pa.string()))}), sink)
    return sink.getvalue()


def test_empty_cells_of_several_labels_and_printed_lists_name_the_way(tmp_path: Path) -> None:
    with pytest.raises(
        DataRefusedError, match=r"target_present .*\(a row that has none of the labels says '\|' alone\)"
    ):
        run(tmp_path, [(text, "" if number % 3 else "sad") for number, text in enumerate(texts())], "multi_label")
    rows = [(text, several(number)) for number, text in enumerate(texts())] + [("more", "['sad', 'loud']")]
    (reasons,) = quarantine(run(tmp_path, rows, "multi_label")).values()
    assert "a list as a program prints it" in reasons[0]


@pytest.mark.parametrize(
    ("column", "settings", "task"),
    [
        (pa.array(["bad", "good"] * 60).dictionary_encode(), {}, "single_label"),
        (pa.array([Decimal(number % 2) for number in range(120)]), {}, "single_label"),
        (pa.array([Decimal(number) / 10 for number in range(120)]), {}, "regression"),
        (
            pa.array([datetime.date.fromordinal(738_886 + number // 2) for number in range(120)]),
            {"group": "more"},
            "single_label",
        ),
        (
            pa.array([datetime.datetime(2024, 1, 1)] * 120, pa.timestamp("us", "UTC")),
            {"slices": ["more"]},
            "single_label",
        ),
        (pa.array([{"x": 1}] * 120), {}, None),
    ],
)
def test_columns_of_programs_are_what_they_can_be_and_refuse_no_table_that_needs_them_not(
    tmp_path: Path, column: pa.Array, settings: dict[str, object], task: str | None
) -> None:
    labels = column if task and not settings else pa.array(["bad", "good"] * 60)
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": texts(), "label": labels, "more": column}), sink)
    assert run_file(tmp_path, sink.getvalue(), "t.parquet", task or "single_label", **settings).accepted == 120


def test_dates_are_no_labels(tmp_path: Path) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": texts(), "label": [datetime.date(2024, 1, 1)] * 120}), sink)
    with pytest.raises(DataRefusedError, match=r"target_column_type .*such as 'date'"):
        run_file(tmp_path, sink.getvalue(), "t.parquet", "single_label")


@pytest.mark.parametrize(
    ("spelt", "task"),
    [
        (["0", "1", "0.0", "1.0"], "single_label"),
        (["bad", "good", "B\u0430d", "good "], "single_label"),
        (["0", "1", "0.0|1.0", "|"], "multi_label"),
    ],
)
def test_spellings_of_one_label_are_refused_joined_or_taken_as_written(
    tmp_path: Path, spelt: list[str], task: str
) -> None:
    rows = [(text, spelt[number % 4 if number % 8 < 4 else number % 2]) for number, text in enumerate(texts())]
    with pytest.raises(
        DataRefusedError, match=r"label_spelt_one_way .*2 other spellings; set data\.label_aliases"
    ) as it:
        run(tmp_path, rows, task)
    proposed = str(it.value).partition("data.label_aliases to ")[2].partition(" to join them")[0]
    joined = run(tmp_path, rows, task, label_aliases=json.loads(proposed))
    assert joined.labels == tuple(sorted(spelt[:2]))
    assert set(targets(joined)) <= {*spelt[:2], "|".join(spelt[:2]), "|"}
    labels = sorted({label for one in spelt for label in one.split("|") if label})
    assert run(tmp_path, rows, task, labels=labels, min_class_share=0.0).labels == tuple(labels)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label_aliases": {"a": "b", "b": "c"}}, "'b' is an alias itself, expected the label that stays"),
        ({"label_aliases": {"a": "a"}}, "'a' is an alias itself"),
        ({"label_aliases": {"a": "b"}, "labels": ["a", "b"]}, "'a' is one of labels, too"),
        ({"label_aliases": {"a": "b"}, "labels": ["c", "d"]}, "stands for 'b', which is none of labels"),
        ({"label_aliases": {"a": "b|c"}, "task": "multi_label"}, "holds label_separator"),
        ({"label_aliases": {"a": "b"}, "task": "regression"}, "leave label_aliases empty"),
        ({"label_aliases": {1.0: "1"}}, "label_aliases"),
    ],
)
def test_aliases_that_lead_nowhere_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        DataSettings.model_validate({"path": "data/t.csv", **settings})


def test_the_same_labels_in_another_order_are_no_conflict_and_other_labels_are(tmp_path: Path) -> None:
    rows = [(text, several(number)) for number, text in enumerate(texts())]
    rows += [("the same words", "sad|long"), ("The same  words", "long|sad")]
    assert quarantine(run(tmp_path, rows, "multi_label")) == {}
    rows += [("The Same words", "loud")]
    assert list(quarantine(run(tmp_path, rows, "multi_label"))) == [122, 123, 124]


@pytest.mark.parametrize(
    ("declared", "target", "sentence"),
    [
        (["sad", "kind"], "sad|", "class_rows .*label kind: 0"),
        ([], "sad", r"class_share .*at most 99\.0%.*label sad: 1\.0"),
        ([], "|", "two_classes .*there is at least one class; 0"),
    ],
)
def test_labels_that_all_rows_or_none_have_are_refused(
    tmp_path: Path, declared: list[str], target: str, sentence: str
) -> None:
    rows = [(text, target.removesuffix("|") if len(target) > 1 else target) for text in texts()]
    with pytest.raises(DataRefusedError, match=sentence):
        run(tmp_path, rows, "multi_label", labels=declared)


def test_numbers_are_targets_without_classes(tmp_path: Path) -> None:
    rows = [(text, f"{number / 7:.3f}") for number, text in enumerate(texts())]
    result = run(tmp_path, rows, "regression")
    assert (result.task, result.labels, result.accepted) == ("regression", (), 120)
    assert targets(result) == [target for _, target in rows]
    assert "class_rows" not in result.page.read_text(encoding="utf-8")


def test_each_target_that_is_no_number_is_quarantined(tmp_path: Path) -> None:
    rows = [(text, str(number)) for number, text in enumerate(texts())]
    faulty = ["nan", "inf", "1,5", "good", ""]
    rows += [(f"another text number {number}", target) for number, target in enumerate(faulty)]
    found = quarantine(run(tmp_path, rows, "regression"))
    assert [reasons[0].partition(" is no finite")[0] for reasons in found.values()] == [
        "target_number: \"'nan'", "target_number: \"'inf'", "target_number: \"'1,5'", "target_number: \"'good'",
        "target_present: missing",
    ]  # fmt: skip


def test_two_measurements_of_one_input_are_no_conflict(tmp_path: Path) -> None:
    rows = [(text, str(number)) for number, text in enumerate(texts())] + [("the same", "1.5"), ("the same", "1.7")]
    assert quarantine(run(tmp_path, rows, "regression")) == {}


def test_targets_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    sentence = (
        r"(?s)target_train_spread .*the targets of the train rows differ.*target_validation_spread.*target_test_spread"
    )
    with pytest.raises(DataRefusedError, match=sentence):
        run(tmp_path, [(text, "2.50") for text in texts()], "regression")


def test_floating_columns_are_targets_of_regression_only(tmp_path: Path) -> None:
    sink = io.BytesIO()
    numbers = [number / 8 + 0.0625 for number in range(120)]
    parquet.write_table(pa.table({"text": texts(), "label": numbers}), sink)
    assert targets(run_file(tmp_path, sink.getvalue(), "t.parquet", "regression")) == [
        str(number) for number in numbers
    ]
    with pytest.raises(DataRefusedError, match=r"target_column_type .*'double'"):
        run_file(tmp_path, sink.getvalue(), "t.parquet", "single_label")
