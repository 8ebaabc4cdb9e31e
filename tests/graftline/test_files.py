"""Files below a folder, in one order everywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftline.files import files_below, names_below

# Around the slash in the order of characters, and in names of folders.
NAMES = st.text("a-.0 é", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@given(st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=12))
def test_files_are_listed_in_the_order_of_their_whole_paths(
    tmp_path_factory: pytest.TempPathFactory, paths: set[tuple[str, ...]]
) -> None:
    root = tmp_path_factory.mktemp("below")
    made = set()
    for parts in paths:
        path = root.joinpath(*parts)
        if not path.is_dir() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            made.add("/".join(parts))
    (root / "empty").mkdir(exist_ok=True)
    assert list(names_below(root)) == sorted(made)


def test_links_to_files_are_listed_and_none_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "to folder").symlink_to(tmp_path / "folder")
    (tmp_path / "to file").symlink_to(tmp_path / "folder" / "file")
    assert files_below(tmp_path) == [tmp_path / "folder" / "file", tmp_path / "to file"]
    assert files_below(tmp_path / "nothing") == []
