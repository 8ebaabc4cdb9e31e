"""A run with nothing to do, and a look at the history, import none of what takes its time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.test_cli import HEAVY
from tests.support.running_project import PROJECT
from tests.support.tiny_project import MODEL, Line, surroundings


def said_and_imported(root: Path, *arguments: str) -> tuple[dict[str, object], list[str]]:
    """The JSON that a command ends with, in a process of its own, and which heavy libraries it imported."""
    program = (
        "import sys\nfrom graftline.flows.cli import app\n"
        f"try:\n    app({[*arguments, '--json']!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root, env=surroundings(PYTHONPATH=str(PROJECT)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    result, modules = done.stdout.splitlines()
    return json.loads(result), [name for name in HEAVY if f"'{name}'" in modules]


@pytest.mark.parametrize("options", [[], ["--full-check"]])
def test_a_run_with_nothing_to_do_says_so_without_a_heavy_import(adapted: Line, options: list[str]) -> None:
    result, imported = said_and_imported(adapted.workspace.root, "adapt", *options)
    assert (result["model"], result["version"], result["verdict"]) == (MODEL, 1, adapted.decision.verdict)
    assert set(result["steps"].values()) == {"reused"}  # type: ignore[attr-defined]
    assert imported == []


def test_a_look_at_the_history_needs_no_heavy_import(adapted: Line) -> None:
    result, imported = said_and_imported(adapted.workspace.root, "history", MODEL)
    assert (result["model"], result["champion"]) == (MODEL, 1)
    assert imported == []
