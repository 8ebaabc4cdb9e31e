"""The documentation as pages: built without a broken link, and readable without another host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running_project import PROJECT

pytestmark = pytest.mark.full


def built(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    return tmp_path


def test_no_page_loads_anything_from_another_host(root: Path) -> None:
    done = built(root)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((root / "site").rglob("*.html"))
    assert len(pages) > len(list((root / "docs").rglob("*.md")))  # and the page of what is not found
    loads = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    assert {page.name: found for page in pages if (found := loads.findall(page.read_text(encoding="utf-8")))} == {}


def test_a_link_into_the_void_ends_the_build(root: Path) -> None:
    (root / "docs" / "index.md").write_text("# Home\n\n[gone](gone.md)\n", encoding="utf-8")
    assert built(root).returncode != 0
