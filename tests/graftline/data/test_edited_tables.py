"""A table with some rows changed reads as it should, and of the other rows every byte is as it was."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from graftline.data.edited_tables import Edits, write_edited
from graftline.data.tables import read_csv_records, read_header, read_rows
from graftline.errors import DataRefusedError

CELLS = st.text(st.sampled_from('ab ,"\n\r;é'), max_size=6)
ROWS = st.lists(st.tuples(CELLS.map("x".__add__), CELLS), min_size=1, max_size=8)


def edited(tmp_path: Path, content: bytes, name: str = "t.csv", **edits: Any) -> bytes:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "new").mkdir(exist_ok=True)
    write_edited(tmp_path / name, tmp_path / "new" / name, Edits(**edits))
    return (tmp_path / "new" / name).read_bytes()


def record(row: tuple[str, str], quoting: int) -> str:
    """Without its line end. The writer quotes what is in its own line end, and a reader takes CR and LF for one."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n", quoting=quoting).writerow(row)  # type: ignore[arg-type]
    return text.getvalue().removesuffix("\r\n")


def read(path: Path) -> list[tuple[str | None, ...]]:
    return [row.values for row in read_rows(path, list(read_header(path)))]


@given(rows=ROWS, new=ROWS, data=st.data(), quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
       end=st.sampled_from(["\n", "\r\n"]), mark=st.sampled_from(["", "\ufeff"]))  # fmt: skip
def test_a_csv_with_changed_removed_and_added_rows_reads_as_asked(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    new: list[tuple[str, str]],
    data: st.DataObject,
    quoting: int,
    end: str,
    mark: str,
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    text = "".join(record(row, quoting) + end for row in [("text", "label"), *rows])
    source = folder / "t.csv"
    source.write_text(mark + text, encoding="utf-8", newline="")
    lines = [record.first for record in read_csv_records(source)][1:]
    what = data.draw(st.lists(st.sampled_from(["keep", "change", "remove"]), min_size=len(rows), max_size=len(rows)))
    changed = {line: {"text": new[0][0]} for line, one in zip(lines, what, strict=True) if one == "change"}
    removed = frozenset(line for line, one in zip(lines, what, strict=True) if one == "remove")
    added = [{"text": first, "label": second} for first, second in new]
    after = edited(folder, source.read_bytes(), changed=changed, removed=removed, added=added).decode()
    expected = [
        (new[0][0], label) if one == "change" else (first, label)
        for (first, label), one in zip(rows, what, strict=True)
        if one != "remove"
    ]
    assert read(folder / "new" / "t.csv") == [*expected, *new]
    assert after.startswith(mark)
    if not changed and not removed:
        assert after.startswith(mark + text)  # byte for byte


def test_a_changed_record_is_quoted_as_its_column_is_and_ends_as_its_line_did(tmp_path: Path) -> None:
    content = b'id,"text",label\r\n1,"a b",x\r\n2,"c",y\r\n3,"",x'
    changed = {3: {"label": "z", "text": "d"}, 4: {"text": 'e "f"'}}
    after = edited(tmp_path, content, changed=changed, added=[{"id": "4", "text": "g"}])
    assert after == b'id,"text",label\r\n1,"a b",x\r\n2,"d",z\r\n3,"e ""f""",x\r\n4,"g",\r\n'


def test_bytes_that_are_no_utf8_and_broken_records_stay_where_they_are(tmp_path: Path) -> None:
    content = b'text,label\nca\xe9,a\n"open,b\nfine,c\n\n,,,,\nlast,d\n'
    after = edited(tmp_path, content, changed={3: {"text": "mended", "label": "b"}, 7: {"label": "e"}})
    assert after == b"text,label\nca\xe9,a\nmended,b\nfine,c\n\n,,,,\nlast,e\n"


def test_a_spreadsheets_empty_columns_are_kept(tmp_path: Path) -> None:
    after = edited(tmp_path, b"text,label,,\nx,a,,\ny,b,,\n", changed={3: {"label": "a"}}, added=[{"text": "z"}])
    assert after == b"text,label,,\nx,a,,\ny,a,,\nz,,,\n"


@pytest.mark.parametrize(("separators", "escaped"), [((", ", ": "), False), ((",", ":"), True)])
def test_of_json_lines_the_manner_the_order_of_keys_and_the_types_are_kept(
    tmp_path: Path, separators: tuple[str, str], escaped: bool
) -> None:
    rows = [{"n": number, "text": f"é{number}", "tags": ["a"], "on": True} for number in range(3)]
    lines = [json.dumps(row, separators=separators, ensure_ascii=escaped) + "\n" for row in rows]
    changed = {2: {"n": "7", "text": "ü", "on": "false"}}
    added = [{"n": "8", "text": "ö", "tags": '["b"]'}]
    after = edited(tmp_path, "".join(lines).encode(), "t.jsonl", changed=changed, removed={3}, added=added)
    second = {"n": 7, "text": "ü", "tags": ["a"], "on": False}
    third = {"n": 8, "text": "ö", "tags": ["b"]}
    written = [json.dumps(row, separators=separators, ensure_ascii=escaped) + "\n" for row in (second, third)]
    assert after.decode() == lines[0] + "".join(written)


def test_a_broken_line_of_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    content = b'{"text": "a", "n": 1}\n{"text": "b", \n\n{"text": "c", "n": 3}'
    changed: dict[int, dict[str, str | None]] = {2: {"text": "b", "n": "2"}}
    after = edited(tmp_path, content, "t.jsonl", changed=changed, added=[{"text": "d"}])
    assert after == (b'{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n\n{"text": "c", "n": 3}\n{"text": "d"}\n')


def test_an_array_of_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="expected JSON Lines to change single rows"):
        edited(tmp_path, b'[{"text": "a"}, {"text": "b"}]', "t.jsonl", changed={1: {"text": "c"}})


def test_of_parquet_schema_types_and_order_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, 2, 3], pa.int32()),
            "text": pa.array(["a", "b", "c"], pa.large_string()),
            "tags": pa.array([["x"], [], None], pa.list_(pa.string())),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    ).replace_schema_metadata({"made": "by hand"})
    parquet.write_table(table, tmp_path / "t.parquet", compression="zstd")
    edits = Edits({2: {"n": "7", "tags": '["y"]', "kind": "w"}}, frozenset({3}), [{"n": "8", "text": "d"}])
    write_edited(tmp_path / "t.parquet", tmp_path / "new.parquet", edits)
    after = parquet.read_table(tmp_path / "new.parquet")
    assert after.to_pylist() == [
        {"n": 1, "text": "a", "tags": ["x"], "kind": "u"},
        {"n": 7, "text": "b", "tags": ["y"], "kind": "w"},
        {"n": 8, "text": "d", "tags": None, "kind": None},
    ]
    assert after.schema.equals(parquet.read_table(tmp_path / "t.parquet").schema, check_metadata=True)
    assert parquet.read_metadata(tmp_path / "new.parquet").row_group(0).column(0).compression == "ZSTD"
    with pytest.raises(DataRefusedError, match="'seven' is no int32, which the column 'n' holds"):
        write_edited(tmp_path / "t.parquet", tmp_path / "new.parquet", Edits({2: {"n": "seven"}}))
