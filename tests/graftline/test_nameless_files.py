"""Files that only their process knows."""

import pytest

from graftline.nameless_files import NamelessFile


def test_what_was_written_comes_back_from_where_it_was_put() -> None:
    file = NamelessFile()
    assert [file.append(b"abc"), file.append(b"de")] == [0, 3]
    file.write(b"xy", 7)
    assert (bytes(file.read(9, 0)), file.size) == (b"abcde\0\0xy", 9)


def test_a_file_that_ends_too_early_is_no_shorter_content() -> None:
    file = NamelessFile()
    file.append(b"abc")
    with pytest.raises(OSError, match="ends after 3 bytes, expected 5"):
        file.read(4, 1)
