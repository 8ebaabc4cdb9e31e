"""The hunt for signals that are lost, in its small form."""

import subprocess
import sys

import pytest

from tests.support.shell import own_code
from tests.support.tiny_project import surroundings


@pytest.mark.full
def test_a_run_that_is_signalled_at_random_moments_stops_and_is_gone_on_with() -> None:
    """In a process of its own, for it forks, and this one has threads."""
    hunt = [sys.executable, "-m", "tests.hunts.stops", "--stops", "1", "--seed", "3", "--within", "8"]
    done = subprocess.run(hunt, capture_output=True, text=True, check=False, env=surroundings(**own_code()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 signals: exit codes" in done.stdout
    assert ", 0 faults" in done.stdout
