"""Reading tables: no row is lost, and nothing is made of a value but text."""

import datetime
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftline.data import parquet_files
from graftline.data.foreign_tables import manner_of, rewrite
from graftline.data.tables import Row, nested_as_json, read_header, read_rows
from graftline.errors import DataRefusedError, SettingsError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_values_that_other_readers_take_for_nothing_or_numbers_stay_text(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "text,label\na,NA\nb,None\nc,null\nd,001\ne,\n")
    assert [row.values[1] for row in read_rows(path, ["text", "label"])] == ["NA", "None", "null", "001", ""]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", b"\xef\xbb\xbftext,label\na,b\n")
    assert read_header(path) == {"text": "text", "label": "text"}
    assert [row.values for row in read_rows(path, ["text"])] == [("a",)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_and_refused(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "t.csv", "text,label\nabc,def\n".encode(encoding))
    with pytest.raises(DataRefusedError, match=r"written in UTF-16.*expected UTF-8; convert"):
        read_header(path)


def test_a_byte_that_is_not_utf_8_costs_no_row(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "text,label\ncaf\xe9,a\nok,b\n".encode("latin-1"))
    assert [row.values[0] for row in read_rows(path, ["text"])] == ["caf\udce9", "ok"]


def test_a_ragged_row_is_a_fault_with_its_line_and_content(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", 'text,label\n"two\nlines",a\nx,y,z\nok,b\n')
    rows = list(read_rows(path, ["text", "label"]))
    assert [row.line for row in rows] == [2, 4, 5]
    assert rows[1] == Row(4, (None, None), "3 cells, expected 2 as in the header", "x,y,z")


def test_an_unclosed_quote_costs_its_own_line_and_none_behind_it(tmp_path: Path) -> None:
    lines = [f"row {number},a\n" for number in range(50)]
    path = written(tmp_path, "t.csv", "text,label\n" + "".join([*lines[:10], '"open,a\n', *lines[10:]]))
    rows = list(read_rows(path, ["text", "label"]))
    assert len(rows) == 51
    assert [(row.line, row.raw) for row in rows if row.fault] == [(12, '"open,a')]
    assert [row.line for row in rows] == list(range(2, 53))


def test_a_doubled_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="the header holds 'text' twice"):
        read_header(written(tmp_path, "t.csv", "text,label,text\na,b,c\n"))


@pytest.mark.parametrize(("content", "text"), [("", "the file is empty"), ("\n\n", "only blank lines")])
def test_a_table_without_a_header_is_refused(tmp_path: Path, content: str, text: str) -> None:
    with pytest.raises(DataRefusedError, match=text):
        read_header(written(tmp_path, "t.csv", content))


def test_an_unknown_ending_and_a_missing_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"t\.xlsx ends in '\.xlsx', expected one of \.csv"):
        read_header(tmp_path / "t.xlsx")
    with pytest.raises(DataRefusedError, match="there is no such table"):
        read_header(tmp_path / "t.csv")


def test_json_lines_keep_what_is_no_object_as_a_fault(tmp_path: Path) -> None:
    good = json.dumps({"text": "ü", "label": 1, "more": [1]})
    broken = ['{"text": "a"', "[1]", '{"text": ["a"]}', '{"text": "a", "text": "b"}', '{"text": NaN}']
    path = written(tmp_path, "t.jsonl", "\n".join([good, *broken, "", '{"label": true}']))
    assert list(read_header(path)) == ["text", "label", "more"]
    rows = list(read_rows(path, ["text", "label"]))
    assert [row.line for row in rows if row.fault] == [2, 3, 4, 5, 6]
    assert [row.values for row in rows if not row.fault] == [("ü", "1"), (None, "true")]


def test_a_key_that_only_the_last_object_has_is_a_column(tmp_path: Path) -> None:
    objects = [json.dumps({"text": "a"})] * 3000
    assert list(read_header(written(tmp_path, "t.jsonl", "\n".join([*objects, '{"late": 1}'])))) == ["text", "late"]


def test_parquet_gives_text_nulls_and_its_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["a", None, ""], "label": [1, 2, 3]}), path)
    assert read_header(path) == {"text": "string", "label": "int64"}
    assert [row.values for row in read_rows(path, ["label", "text"])] == [("1", "a"), ("2", None), ("3", "")]


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="not readable as Parquet"):
        read_header(written(tmp_path, "t.parquet", b"PAR1 and no more"))


@pytest.mark.parametrize("at_once", [1, 7, 8, 1 << 20])
def test_two_parquet_tables_in_one_file_are_refused_and_the_same_letters_in_a_text_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(parquet_files, "SCANNED_BYTES", at_once)
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["PAR1PAR1", "b"]}), path, compression="none")
    assert [row.values for row in read_rows(path, ["text"])] == [("PAR1PAR1",), ("b",)]
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataRefusedError, match="it holds several tables, of which only one would be read"):
        list(read_rows(path, ["text"]))


def test_a_parquet_file_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"text", b"te\x80t"))
    with pytest.raises(DataRefusedError, match="not readable as Parquet"):
        list(read_rows(path, list(read_header(path))))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("text,label,,", "a,b,,"),
        ("text,label, ,", "a,b"),
        ("text,label", "a,b,"),
        ("text,label,", "a,b"),
        ("\ufeff,,text,,label,", "1,2,a,3,b,"),
    ],
)
def test_columns_without_a_name_and_rows_of_nothing_are_no_part_of_a_table(
    tmp_path: Path, header: str, row: str
) -> None:
    path = written(tmp_path, "t.csv", f"{header}\r\n{row}\r\n{row}\r\n,,,,\r\n,\r\n")
    assert {name for name in read_header(path) if name} == {"text", "label"}
    assert [row.values for row in read_rows(path, ["text", "label"])] == [("a", "b"), ("a", "b")]


@pytest.mark.parametrize(
    ("header", "rows", "faulty"),
    [
        ("id,text,label,,", ["1,a,b,,", "2,no quote, a comma,b,", "3,a,b,,note"], [3, 4]),
        ("text,label,note", ["a,b,", "no quote, a comma,b,", "a,b,c"], [3]),
        ("text,label", ["a,b,", "c,d,", "no quote, a comma,b,"], [4]),
    ],
)
def test_a_comma_that_is_not_quoted_is_a_fault_beside_empty_columns(
    tmp_path: Path, header: str, rows: list[str], faulty: list[int]
) -> None:
    path = written(tmp_path, "t.csv", "\n".join([header, *rows]))
    assert [row.line for row in read_rows(path, ["text", "label"]) if row.fault] == faulty


OBJECTS = [{"text": "a\u2028b", "label": 1}, {"text": "c", "label": None}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        "\ufeff" + json.dumps(OBJECTS, indent=2, ensure_ascii=False),
        "\r\n".join(json.dumps(one, indent=1, ensure_ascii=False) for one in OBJECTS),
        "\n \n".join(json.dumps(one) for one in OBJECTS),
        "[\n" + ",\n".join(json.dumps(one) for one in OBJECTS) + "\n]\n",
    ],
)
def test_objects_in_one_array_or_over_several_lines_are_rows(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "t.jsonl", content)
    assert list(read_header(path)) == ["text", "label"]
    rows = list(read_rows(path, ["text", "label"]))
    assert [row.values for row in rows] == [("a\u2028b", "1"), ("c", None)]
    assert len({row.line for row in rows}) == 2


def test_in_an_array_a_value_that_is_no_json_costs_the_row_that_needs_it(tmp_path: Path) -> None:
    path = written(
        tmp_path, "t.jsonl", '[{"text": NaN, "more": NaN}, {"text": "b", "more": NaN}, 3, {"text": 1, "text": 2}]'
    )
    assert [(row.line, row.fault is None) for row in read_rows(path, ["text"])] == [
        (1, False), (2, True), (3, False), (4, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"text": "a"}, {"te', "begins like one JSON array, but is not readable as that"),
        ('{\n "text": "a"\n}\n{\n "tex', "begins like JSON objects over several lines"),
        ("[]", "holds no JSON object with a key; expected JSON Lines"),
        ("text,label\na,b\n", r"holds no JSON object with a key \(line 1 not readable as JSON"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused_with_the_form_that_it_seems_to_have(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(DataRefusedError, match=said):
        read_header(written(tmp_path, "t.jsonl", content))


def test_a_broken_first_line_of_json_lines_is_a_row(tmp_path: Path) -> None:
    path = written(tmp_path, "t.jsonl", '{"text": "a\n{"text": "b"}\n')
    assert [row.fault is None for row in read_rows(path, ["text"])] == [False, True]


DAY, NOON = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 0, 0, 250_000)
COLUMNS: dict[str, tuple["pa.Array", str, str]] = {
    "categories": (pa.array(["a"]).dictionary_encode(), "string", "a"),
    "ordered": (pa.DictionaryArray.from_arrays(pa.array([0], pa.uint16()), ["a"], ordered=True), "string", "a"),
    "large": (pa.array(["a"], pa.large_string()).dictionary_encode(), "string", "a"),
    "whole categories": (pa.array([7]).dictionary_encode(), "int64", "7"),
    "day": (pa.array([DAY]), "date", "2024-02-29"),
    "day of milliseconds": (pa.array([DAY], pa.date64()), "date", "2024-02-29"),
    "second": (pa.array([NOON], pa.timestamp("s")), "timestamp", "2024-02-29 12:00:00"),
    "nanosecond": (pa.array([NOON], pa.timestamp("ns")), "timestamp", "2024-02-29 12:00:00.25"),
    "zone": (pa.array([NOON], pa.timestamp("ms", "Asia/Tokyo")), "timestamp", "2024-02-29 12:00:00.25Z"),
    "decimal": (pa.array([Decimal("-0.10")]), "decimal", "-0.10"),
    "of a database": (pa.array([Decimal(12)], pa.decimal128(38, 0)), "decimal", "12"),
    "time": (pa.array([NOON.time()]), "time", "12:00:00.250000"),
    "labels": (pa.array([["a", "b"]], pa.large_list(pa.string())), "list of text", '["a", "b"]'),
    "nested": (pa.array([{"x": [DAY], "y": b"\xff"}]), "struct", '{"x": ["2024-02-29"], "y": "1 bytes"}'),
    "nothing": (pa.array([None]), "null", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_type_has_a_text_and_a_type_in_a_word(tmp_path: Path, name: str) -> None:
    column, kind, text = COLUMNS[name]
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({name: column, "text": ["a"]}), path)
    assert read_header(path)[name].partition("<")[0] == kind
    ((value, other),) = [row.values for row in read_rows(path, [name, "text"], nested=nested_as_json)]
    assert ((value or ""), other) == (text, "a")


def test_a_list_is_a_fault_of_its_row_where_nobody_wants_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": [["a"], None]}), path)
    assert [row.fault for row in read_rows(path, ["text"])] == [
        "'text' holds a list or an object, expected text", None,
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["sep=,", '"sep=,"', "SEP=,"])
def test_the_line_that_tells_a_spreadsheet_the_separator_is_no_header(tmp_path: Path, first: str) -> None:
    path = written(tmp_path, "t.csv", f"{first}\r\ntext,label\r\na,b\r\n")
    assert list(read_header(path)) == ["text", "label"]
    assert [(row.line, row.values) for row in read_rows(path, ["text", "label"])] == [(3, ("a", "b"))]


def test_such_a_line_is_no_header_of_a_table_that_is_written_anew(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "sep=;\r\ntext;label\r\na, b;c\r\n")
    manner = manner_of(path)
    assert rewrite([path], manner, tmp_path / "ours.csv") == 1
    assert (manner.delimiter, (tmp_path / "ours.csv").read_text()) == (";", 'text,label\n"a, b",c\n')


def test_a_quote_behind_a_backslash_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", 'text,label\n"he said \\"no\\" twice",a\nb,c\n')
    faults = [row.fault for row in read_rows(path, ["text"])]
    assert "a quote inside quotes is written twice" in str(faults[0])
    assert faults[1] is None


@pytest.mark.parametrize(("name", "way"), [("t.json", "name it .jsonl"), ("t.csv.gz", "unpack it"),
                                           ("t.tsv", "graftline init"), ("t.xlsx", "export it as CSV")])  # fmt: skip
def test_a_table_of_another_name_is_told_its_way(tmp_path: Path, name: str, way: str) -> None:
    with pytest.raises(SettingsError, match=way):
        read_header(written(tmp_path, name, "text,label\na,b\n"))
