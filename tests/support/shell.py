"""A reader's shell: the environment in which the commands of a page are typed, and a server that one of them starts."""

import os
import sysconfig
import time
import urllib.error
import urllib.request

from prefect.settings import PREFECT_API_URL

from tests.support.running_project import PROJECT
from tests.support.tiny_project import surroundings

START_SECONDS = 180


def shell_environment() -> dict[str, str]:
    """As where the virtual environment is active, with a person for git, and with the tests' Prefect server, if any.

    Without one every command would start its own, which takes longer than most of them; test_cli.py has that.
    """
    who = {
        f"GIT_{role}_{what}": f"test@{role}.localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    server = {"PREFECT_API_URL": str(url)} if (url := PREFECT_API_URL.value()) else {}
    return surroundings(PATH=path, **server, **who)


def own_code() -> dict[str, str]:
    """Lets a command of another folder run the code of this tree, whichever is installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.getenv("PYTHONPATH")]))}


def wait_for(page: str) -> None:
    """Until a server that was started shows a page."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(page, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, f"{page} does not answer"
            time.sleep(0.5)
