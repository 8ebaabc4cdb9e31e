"""A file that is not what its name says is called what it is."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from graftline.base_models.allowed_files import check_content
from graftline.data.class_folders import read_class_folders
from graftline.data.foreign_tables import manner_of
from graftline.data.images import UnreadableImageError, decode_image
from graftline.data.sound_containers import UnreadableSoundError
from graftline.data.sounds import sound_facts
from graftline.data.tables import read_header
from graftline.errors import BaseModelRefusedError, DataRefusedError
from graftline.other_formats import what_it_is
from tests.support.tiny_media_files import tiny_image

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * b"a" + b"\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
TABLE = b"text,label\na,b\n"


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    tiny_image("disc", 0).save(content, format=kind)
    return content.getvalue()


def sound(kind: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(100), 16_000, format=kind)
    return content.getvalue()


OTHERS = {
    "a pointer of Git LFS": POINTER,
    "a web page": PAGE,
    "packed by gzip": gzip.compress(TABLE, mtime=0),
    "a zip archive": b"PK\x03\x04" + bytes(40),
    "a PDF": b"%PDF-1.7\n",
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_that_is_something_else_is_called_that(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    path.write_bytes(OTHERS[what])
    with pytest.raises(DataRefusedError, match=f"it is {what}.*; .*; expected what its name says"):
        read_header(path)


def test_the_data_of_a_project_to_begin_are_looked_at_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(POINTER)
    with pytest.raises(DataRefusedError, match=r"a pointer of Git LFS.*run `git lfs pull`"):
        manner_of(path)


@pytest.mark.parametrize(
    "content",
    [*OTHERS.values(), picture("BMP"), picture("JPEG2000"), sound("WAV")],
    ids=lambda content: content[:4].hex(),
)
def test_a_picture_that_is_something_else_is_called_that(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"no readable PNG, JPEG or WebP image: it is .*; "):
        decode_image(content)


@pytest.mark.parametrize(
    "content",
    [*OTHERS.values(), picture("PNG"), b"\x00\x00\x00\x20ftypM4A " + bytes(40)],
    ids=lambda content: content[:4].hex(),
)
def test_a_sound_that_is_something_else_is_called_that(content: bytes) -> None:
    with pytest.raises(UnreadableSoundError, match=r"no readable WAV, FLAC, OGG or MP3 sound .*: it is .*; "):
        sound_facts(content)


def test_a_damaged_file_of_the_right_kind_is_not_called_another() -> None:
    with pytest.raises(UnreadableImageError, match="it begins with"):
        decode_image(picture("PNG")[:10])
    with pytest.raises(UnreadableSoundError) as caught:
        sound_facts(b"fLaC" + bytes(40))
    assert "it is" not in str(caught.value)


@pytest.mark.parametrize(
    "header", ["caffeine,label", "BMI,label", "PAR1,label", "RF64,label", "<text>,label", "II*,MM", "versions,label"]
)
def test_no_header_of_a_table_is_taken_for_something_else(header: str) -> None:
    assert what_it_is(f"{header}\n{100 * '1,2'}\n".encode()) is None


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer.model"])
def test_a_base_model_cloned_without_git_lfs_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(BaseModelRefusedError, match=r"is a pointer of Git LFS, run `git lfs pull`"):
        check_content(tmp_path / name, name, "path:base")


def test_pictures_as_windows_names_them_are_rows_and_others_are_to_be_converted(tmp_path: Path) -> None:
    folder = tmp_path / "disc"
    folder.mkdir()
    for name in ("a.jfif", "b.JPE", "c.tiff", "d.heic", "e.txt"):
        Image.new("RGB", (9, 9)).save(folder / name, format="JPEG")
    faults = [row.fault and row.fault.rpartition("; ")[2] for row in read_class_folders(tmp_path, tmp_path, "image")]
    assert faults == [None, None, "convert it", "convert it", "remove it"]
