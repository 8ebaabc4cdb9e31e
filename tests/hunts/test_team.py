"""The hunt on a team's servers, in its small form."""

import json
import subprocess
import sys

import pytest

from tests.support.shell import own_code
from tests.support.tiny_project import surroundings


@pytest.mark.long
@pytest.mark.timeout(1200)  # three servers and two trainings, on a machine that does other things, too
def test_commands_that_are_killed_on_a_teams_servers_cost_nothing() -> None:
    hunt = [sys.executable, "-m", "tests.hunts.team", "--kills", "1", "--seed", "1", "--only", "command"]
    done = subprocess.run(hunt, capture_output=True, text=True, check=False, env=surroundings(**own_code()))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["kills"], summary["fault"]) == (1, None)
