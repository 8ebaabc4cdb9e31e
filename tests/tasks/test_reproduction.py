"""A run is repeated by the command line of its own commit."""

from pathlib import Path

import pytest

from graftline.tasks.reproduction import _command_line_of


@pytest.mark.parametrize(("package", "module"), [("graftline/flows", "graftline.flows"), ("flows", "flows")])
def test_the_command_line_is_where_the_commit_has_it(tmp_path: Path, package: str, module: str) -> None:
    (tmp_path / "graftline").mkdir()
    (tmp_path / package).mkdir()
    assert _command_line_of(tmp_path) == module
