"""Reading tables: no row is lost, and nothing is made of a value but text."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftline.data.tables import Row, read_header, read_rows
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


def test_two_parquet_tables_in_one_file_are_refused_and_the_same_letters_in_a_text_are_not(tmp_path: Path) -> None:
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
