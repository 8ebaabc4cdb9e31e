"""A registered model's code runs as it was compared: compiled modules beside it, which anyone may have left, do not."""

import py_compile
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from graftline.tasks.serving import from_source


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a module, beside which lies another one's compiled form that Python takes without a look."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "other.py").write_text("said = 'foreign'")
    (folder / "answers.py").write_text("said = 'compared'")
    py_compile.compile(
        str(tmp_path / "other.py"), cache_from_source(str(folder / "answers.py")),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    return folder


def said(folder: Path, *through: str) -> str:
    program = folder.parent / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(folder)!r}); import answers; print(answers.said, sys.argv)"
    )
    done = subprocess.run(
        [sys.executable, "-P", *through, str(program), "an argument"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_compiled_module_that_was_left_there_is_not_read(model: Path) -> None:
    program = str(model.parent / "program.py")
    assert said(model) == f"foreign {[program, 'an argument']}"
    assert said(model, from_source.__file__, str(model)) == f"compared {[program, 'an argument']}"


def test_none_is_written_there(model: Path) -> None:
    (model / "more.py").write_text("")
    before = sorted(model.rglob("*"))
    said(model, from_source.__file__, str(model))
    assert sorted(model.rglob("*")) == before
