"""A run is repeated by the command line of its own commit, or by the installed one where that holds no code."""

from pathlib import Path

import pytest

from graftline.tasks.reproduction import command_line_of


@pytest.mark.parametrize(
    ("files", "module"),
    [
        (["graftline/__init__.py", "graftline/flows/cli.py", "flows/cli.py"], "graftline.flows"),
        (["graftline/__init__.py", "flows/cli.py"], "flows"),
        (["graftline/rows.csv", "flows/cli.py"], None),
        (["params.yaml", "tasks.py", "flows/__init__.py"], None),
    ],
)
def test_the_command_line_is_where_the_folder_has_it(tmp_path: Path, files: list[str], module: str | None) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert command_line_of(tmp_path) == module
