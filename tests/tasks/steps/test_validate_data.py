"""Faulty rows are quarantined, faulty data is refused, and every row is accounted for."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

# Read when Great Expectations is imported.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from graftline.data.splitting import SPLITS, split_of
from graftline.digests import file_sha256
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.data.files import DataVersion
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace

Cells = Sequence[str]
SUBJECTS = ("plot", "cast", "score", "ending", "dialogue", "pacing", "camera", "villain", "humour", "opening")


@dataclass(frozen=True)
class Table:
    """Rows of id, text, label and source, and how they are written."""

    rows: list[list[str]]

    def csv(self, header: Cells = ("id", "text", "label", "source")) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([header, *self.rows])
        return text.getvalue().encode("utf-8", "surrogateescape")


def fit_rows(count: int = 120) -> list[list[str]]:
    """Rows without a fault, of two classes in turn, which are no near duplicates of each other."""
    labels = ("bad", "good")
    return [
        [f"r{n}", f"{labels[n % 2]} {SUBJECTS[n % 10]} of film {n} seen on day {n * 7}", labels[n % 2], f"s{n % 3}"]
        for n in range(count)
    ]


def run(root: Path, content: bytes, name: str = "table.csv", **settings: object) -> ValidatedData:
    path = root / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    chosen = {"id": "id", "labels": ["bad", "good"], "max_quarantined": 0.2, **settings}
    data = DataSettings.model_validate({"path": f"data/{name}", **chosen})
    result = validate_data.fn(Workspace(root), data, DataVersion("v" * 32, False, (), file_sha256(path), path))
    assert result.read == result.accepted + result.quarantined
    assert parquet.read_table(result.folder.path / "accepted.parquet").num_rows == result.accepted
    assert len(quarantine(result)) == result.quarantined
    return result


def quarantine(result: ValidatedData) -> dict[int, list[str]]:
    lines = (result.folder.path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["line"]: row["reasons"] for row in map(json.loads, lines)}


def refused(root: Path, content: bytes, text: str, name: str = "table.csv", **settings: object) -> str:
    """The sentence of the refusal; its page is there and tells the same verdict."""
    with pytest.raises(DataRefusedError, match=text) as caught:
        run(root, content, name, **settings)
    (page,) = (root / "artifacts" / "validate_data" / "refused").glob("*/validation.html")
    assert str(page) in str(caught.value)
    assert "The data was refused" in page.read_text(encoding="utf-8")
    return str(caught.value)


def test_fit_rows_are_accepted_in_order_with_their_split_and_slices(tmp_path: Path) -> None:
    rows = fit_rows()
    result = run(tmp_path, Table(rows).csv(), slices=["source"])
    table = parquet.read_table(result.folder.path / "accepted.parquet").to_pydict()
    assert list(table) == ["row_id", "line", "input", "target", "split", "slice.source"]
    assert [
        list(cells) for cells in zip(*(table[n] for n in ("row_id", "input", "target", "slice.source")), strict=True)
    ] == rows
    assert table["line"] == list(range(2, 122))
    assert table["split"] == [split_of(text, test_share=0.15, validation_share=0.15) for text in table["input"]]
    assert (result.labels, sum(result.split_rows.values())) == (("bad", "good"), 120)


def test_a_second_run_reuses_the_folder_without_great_expectations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, Table(fit_rows()).csv())
    monkeypatch.setattr("graftline.tasks.data.validation.Validator", None)
    second = run(tmp_path, Table(fit_rows()).csv())
    assert (first.folder.outcome, second.folder.outcome) == ("ran", "reused")
    assert (second.split_sha256, second.test_sha256, second.page) == (first.split_sha256, first.test_sha256, first.page)


def test_growth_keeps_every_row_on_its_side(tmp_path: Path) -> None:
    few, many = (run(tmp_path, Table(fit_rows(count)).csv()) for count in (120, 200))
    sides = [
        dict(zip(*(parquet.read_table(r.folder.path / "accepted.parquet")[n].to_pylist() for n in ("row_id", "split")),
                 strict=True)) for r in (few, many)
    ]  # fmt: skip
    assert sides[0].items() <= sides[1].items()


def test_each_faulty_row_is_quarantined_with_its_reasons(tmp_path: Path) -> None:
    faulty = {
        "input_present: missing": ["x0", "", "bad", "s"],
        "input_not_blank: 0": ["x1", " \u200b ", "bad", "s"],
        "input_length: 31": ["x2", "y" * 31, "bad", "s"],
        "target_present: missing": ["x3", "a label is missing", "", "s"],
        "target_known: 'goood'; did you mean 'good'?": ["x4", "a slip in the label", "goood", "s"],
        "target_known: 'NA'": ["x5", "not a missing value", "NA", "s"],
        "input_clean: 'U+0000 (a control character) at character 4'": ["x6", "nul\x00 inside", "bad", "s"],
        "input_clean: 'U+202E (RIGHT-TO-LEFT OVERRIDE) at character 1'": ["x7", "\u202egnp.exe", "bad", "s"],
        "input_clean: 'byte 0xe9 at character 4 is not UTF-8 (is the file Latin-1?)'": ["x8", "caf\udce9", "bad", "s"],
        "id_present: missing": ["", "an id is missing", "bad", "s"],
        "row_readable: '5 cells, expected 4 as in the header'": ["x9", "ragged", "bad", "s", "?"],
        "source": ["x10", "slice is unclean", "bad", "s\x07"],
    }
    rows = [*([*row[:1], f"short {row[0]}", *row[2:]] for row in fit_rows()), *faulty.values()]
    result = run(tmp_path, Table(rows).csv(), max_characters=30, slices=["source"])
    found = quarantine(result)
    for line, expected in enumerate(faulty, start=122):
        assert any(expected in reason for reason in found.pop(line)), expected
    assert found == {}


def test_all_rows_with_one_id_and_all_rows_of_a_conflict_are_quarantined(tmp_path: Path) -> None:
    twice = [
        ["r0", "an id that is taken", "bad", "s"],
        ["c1", "Same input", "bad", "s"],
        ["c2", "same  input", "good", "s"],
    ]
    found = quarantine(run(tmp_path, Table(fit_rows() + twice).csv()))
    assert {line: [reason.partition(":")[0] for reason in reasons] for line, reasons in found.items()} == {
        2: ["id_unique"], 122: ["id_unique"], 123: ["no_conflict"], 124: ["no_conflict"],
    }  # fmt: skip


def twins(result: ValidatedData) -> dict[int, str]:
    lines = (result.folder.path / "twins.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["line"]: row["said"] for row in map(json.loads, lines)}


def kept_sides(result: ValidatedData) -> dict[int, str]:
    table = parquet.read_table(result.folder.path / "accepted.parquet")
    return dict(zip(table["line"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_a_repeated_row_in_another_group_is_a_twin_on_no_side(tmp_path: Path) -> None:
    shares = {"test_share": 0.15, "validation_share": 0.15}
    sides = {split_of(f"g{n}", **shares): f"g{n}" for n in range(100)}
    rows = [[*row[:3], f"g{n}"] for n, row in enumerate(fit_rows())]
    repeats = [[f"x{split}", "these words stand on all three sides", "bad", sides[split]] for split in sorted(sides)]
    result = run(tmp_path, Table(rows + repeats).csv(), group="source")
    # In the order test, train, validation.
    assert list(twins(result)) == [122, 124]
    assert {line: side for line, side in kept_sides(result).items() if line > 121} == {
        122: "twin",
        123: "train",
        124: "twin",
    }
    assert (
        "line 123, a train row, shares 1.00 of its pieces of five characters with this test row" in twins(result)[122]
    )
    assert (result.accepted, result.quarantined, result.twins) == (123, 0, 2)
    assert sum(result.split_rows.values()) == 121


def near_pair(labels: tuple[str, str] = ("bad", "bad")) -> list[list[str]]:
    base = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    by_side = {
        split_of(text, test_share=0.15, validation_share=0.15): text for text in (f"{base} {n}" for n in range(100))
    }
    return [["x1", by_side["test"], labels[0], "s"], ["x2", by_side["train"], labels[1], "s"]]


def test_a_held_out_row_with_a_near_duplicate_to_learn_from_is_never_scored(tmp_path: Path) -> None:
    alone = run(tmp_path, Table(fit_rows()).csv(), max_quarantined=0)
    result = run(tmp_path, Table(fit_rows() + near_pair()).csv(), max_quarantined=0)
    assert [row for side in SPLITS for row in read_split(result, side, ["row_id"])["row_id"] if row[0] == "x"] == ["x2"]
    assert (result.test_sha256, result.split_rows["test"]) == (alone.test_sha256, alone.split_rows["test"])
    assert result.split_sha256 != alone.split_sha256
    page = result.page.read_text(encoding="utf-8")
    assert "Twins across the split" in page
    assert "another target" not in page


def test_a_twin_with_another_label_is_said_to_have_one(tmp_path: Path) -> None:
    result = run(tmp_path, Table(fit_rows() + near_pair(("good", "bad"))).csv())
    assert "has another target: 'bad', not 'good'" in twins(result)[122]
    assert "1 of them has another target than that row" in result.page.read_text(encoding="utf-8")


def test_more_twins_than_allowed_refuse_the_data(tmp_path: Path) -> None:
    text = r"twins_share .*at most 1.00% of the held-out rows repeat, or nearly repeat, .*data.max_twins"
    sentence = refused(tmp_path, Table(fit_rows() + near_pair()).csv(), text, max_twins=0.01)
    assert "such as line 122: line 123, a train row" in sentence


def test_a_row_set_aside_has_no_twin(tmp_path: Path) -> None:
    (held_out, learned), fit = near_pair(), fit_rows()
    learned[0] = fit[0][0]
    result = run(tmp_path, Table([*fit, held_out, learned]).csv())
    assert (list(quarantine(result)), result.twins) == ([2, 123], 0)


def test_two_hundred_corrupt_rows_are_refused_with_count_and_examples(tmp_path: Path) -> None:
    rows = fit_rows(1000)
    for row in rows[:200]:
        row[1] = "\udcff" + row[1]
    sentence = refused(tmp_path, Table(rows).csv(), "quarantined_share", max_quarantined=0.01)
    assert "at most 1.00% of the rows are faulty" in sentence
    assert "input_clean" in sentence
    assert "200 of 1,000 faulty, such as line 2: 'byte 0xff" in sentence


def test_a_missing_column_is_refused_with_what_is_there(tmp_path: Path) -> None:
    text = r"target_column_present .*columns: 'id', 'text', 'lable', 'source'; did you mean 'lable'\?"
    refused(tmp_path, Table(fit_rows()).csv(("id", "text", "lable", "source")), text)


def test_a_misspelt_label_is_refused_when_no_labels_are_declared(tmp_path: Path) -> None:
    rows = [*fit_rows(), ["x", "another text", "goood", "s"]]
    text = r"no_misspelt_label .*'goood': did you mean 'good'\?"
    refused(tmp_path, Table(rows).csv(), text, labels=[], min_rows_per_class=1, min_class_share=0)


def test_labels_that_look_like_nothing_or_numbers_are_labels(tmp_path: Path) -> None:
    names = ["NA", "None", "001", "02"]
    rows = [[*row[:2], names[n % 4], row[3]] for n, row in enumerate(fit_rows(160))]
    result = run(tmp_path, Table(rows).csv(), labels=[], min_rows_per_class=1)
    assert result.labels == ("001", "02", "NA", "None")


@pytest.mark.parametrize(
    ("labels", "text"),
    [(["good"], r"two_classes .*there are at least two classes; 1"), (["good", "bad"], "class_rows .*label bad: 0")],
)
def test_one_class_is_refused(tmp_path: Path, labels: list[str], text: str) -> None:
    rows = [[*row[:2], "good", row[3]] for row in fit_rows()]
    refused(tmp_path, Table(rows).csv(), text, labels=labels)


def test_a_class_without_held_out_rows_is_refused(tmp_path: Path) -> None:
    train = [row for row in fit_rows(400) if split_of(row[1], test_share=0.15, validation_share=0.15) == "train"]
    refused(tmp_path, Table(train).csv(), r"(?s)class_validation_rows .*class_test_rows .*label bad: 0; label good: 0")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"id,text,label,source\n", "has_rows .*the table has rows"),
        ("id,text,label\n1,a,b\n".encode("utf-16"), "written in UTF-16"),
        (b"id,text,text,label\n1,a,b,c\n", "the header holds 'text' twice"),
        (b"\x00" * 64, "is not text"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    refused(tmp_path, content, text)


def test_a_latin_1_table_is_refused_by_name_of_its_fault(tmp_path: Path) -> None:
    rows = [[*row[:1], row[1] + " café", *row[2:]] for row in fit_rows()]
    refused(tmp_path, Table(rows).csv().decode().encode("latin-1"), r"is the file Latin-1\?")


def test_an_unclosed_quote_costs_one_row(tmp_path: Path) -> None:
    content = (
        Table(fit_rows()).csv() + b'x,"open,bad,s\n' + Table([["y", "behind it", "bad", "s"]]).csv().split(b"\n", 1)[1]
    )
    result = run(tmp_path, content)
    assert (result.read, list(quarantine(result))) == (122, [122])


def test_json_lines_and_parquet_give_the_same_rows_as_csv(tmp_path: Path) -> None:
    names = ("id", "text", "label", "source")
    objects = [dict(zip(names, row, strict=True)) for row in fit_rows()]
    lines = "\n".join(json.dumps(row) for row in objects).encode()
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(objects), sink)
    results = [
        run(tmp_path, content, name)
        for content, name in [
            (b"\xef\xbb\xbf" + Table(fit_rows()).csv(), "t.csv"), (lines, "t.jsonl"), (sink.getvalue(), "t.parquet")
        ]
    ]  # fmt: skip
    assert len({(result.split_sha256, result.test_sha256) for result in results}) == 1


def test_parquet_with_other_types_is_refused(tmp_path: Path) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"id": ["a"], "text": [1.5], "label": [2.5]}), sink)
    sentence = refused(tmp_path, sink.getvalue(), "input_column_type .*'double'", "t.parquet")
    assert "target_column_type" in sentence


def test_rows_without_an_id_column_are_named_by_their_content(tmp_path: Path) -> None:
    rows = fit_rows()
    ids = [
        parquet.read_table(run(tmp_path, Table(order).csv(), id=None).folder.path / "accepted.parquet")[
            "row_id"
        ].to_pylist()
        for order in (rows, rows[::-1])
    ]
    assert ids[0] == ids[1][::-1]
    assert len(set(ids[0])) == len(rows)
