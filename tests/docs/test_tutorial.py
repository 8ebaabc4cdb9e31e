"""The tutorial, followed word for word with the real base model; and the program that a page shows."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.running_project import PROJECT, free_port
from tests.support.shell import own_code, shell_environment, wait_for

pytestmark = pytest.mark.full

TUTORIAL = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
LIBRARY = (PROJECT / "docs" / "how-to" / "use-as-a-library.md").read_text(encoding="utf-8")
# What a reader installs is what the tests run in.
INSTALL = ("python3 -m venv", ". ", "pip install")
SERVE, PORT = "graftline serve", "5001"


@dataclass
class Terminal:
    """A shell in which the lines of a page are typed one after the other, and a second one for a server."""

    folder: Path
    port: str
    environment: dict[str, str]
    said: dict[str, list[str]] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None

    def type(self, line: str) -> None:
        command = line.replace(PORT, self.port)
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
        elif SERVE in command:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"], cwd=self.folder, env=self.environment, start_new_session=True
            )
            wait_for(f"http://127.0.0.1:{self.port}/ping")
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            self.said.setdefault(line.partition("  #")[0].strip(), []).append(done.stdout)


@pytest.mark.long  # test_pages.py has every command parsed; `.ci/run` runs the line on real rows
def test_the_tutorial_goes_from_a_table_to_a_served_champion(tmp_path: Path, prefect_server: None) -> None:
    terminal = Terminal(tmp_path, str(free_port()), shell_environment() | own_code())
    try:
        for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE):
            if language == "python":
                (terminal.folder / "write_tickets.py").write_text(block, encoding="utf-8")
                continue
            for line in block.splitlines():
                if not line.startswith(INSTALL):
                    terminal.type(line)
    finally:
        if terminal.server:
            os.killpg(terminal.server.pid, 15)
            terminal.server.wait()
    first, second, third = terminal.said["graftline adapt"]
    assert "verdict     PROMOTE" in first
    assert "tickets version 2" in second
    assert "nothing changed" in third
    (answer,) = (said for line, (said, *_) in terminal.said.items() if line.startswith("curl"))
    assert json.loads(answer)["predictions"][0]["label"] == "urgent"


def test_the_program_that_uses_the_library_adapts_a_model_and_asks_it() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", LIBRARY, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=shell_environment() | own_code(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    great, awful = ([float(share) for share in re.findall(r"[\d.e+-]+", row)] for row in done.stdout.splitlines()[-2:])
    assert great[1] > great[0]
    assert awful[0] > awful[1]
