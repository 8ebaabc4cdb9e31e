"""Processes for registered models that begin with the libraries loaded, which takes longer than all they then do."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from graftline.models import torchvision_import
from graftline.tasks.children import run_child

ASKING = "graftline.tasks.serving.trial.run_child"
# What a registered model's own code imports from elsewhere. Nothing of graftline, which the model brings.
LIBRARIES = (
    "torch", "mlflow.pyfunc.scoring_server", "fastapi.testclient", "pandas", "safetensors.torch", "sklearn",
    "timm.data", "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
)  # fmt: skip
# Reads a line per process: what it is to run, where, with which surroundings, and the files of what it prints.
PROGRAM = """
import gc, importlib, json, os, runpy, sys, tempfile, traceback
import torch

declare, *libraries = sys.argv[1:]
define = torch.library.define
runpy.run_path(declare)
# The model's own copy declares the same operators again.
torch.library.define = lambda name, *given: None if name.startswith("torchvision::") else define(name, *given)
for library in libraries:
    importlib.import_module(library)
gc.freeze()

def run(asked):
    for number, name in ((1, "said"), (2, "complained")):
        os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT), number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    tempfile.tempdir = None  # it is read from there once
    sys.argv = asked["arguments"]
    runpy.run_path(sys.argv[0], run_name="__main__")

for line in sys.stdin:
    if (child := os.fork()) == 0:
        code = 1
        try:
            run(json.loads(line))
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[None]:
    """In a room that has this fixture registered models are asked in forks of one process, begun at the first.

    What a model's process may not share, it does not: a fork has its own memory, surroundings, folder and end, and
    imports the model's code. Tests with the fixture `cold` ask as everybody does.
    """
    parents: list[subprocess.Popen[str]] = []

    def run_warm(
        command: Sequence[str], *, folder: Path, environment: Mapping[str, str], **_: object
    ) -> "subprocess.CompletedProcess[str]":
        if not parents:
            parents.append(_parent())
        return _run(parents[0], command, folder, environment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ASKING, run_warm)
        yield
    for parent in parents:
        parent.communicate()


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered models are asked in processes that share nothing with others."""
    monkeypatch.setattr(ASKING, run_child)


def _parent() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, torchvision_import.__file__, *LIBRARIES],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _run(
    parent: "subprocess.Popen[str]", command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    assert list(command[:2]) == [sys.executable, "-P"], command
    assert parent.stdin is not None
    assert parent.stdout is not None
    with TemporaryDirectory() as said:
        out, err = Path(said) / "out", Path(said) / "err"
        asked = {
            "arguments": list(command[2:]), "folder": str(folder), "environment": dict(environment),
            "said": str(out), "complained": str(err),
        }  # fmt: skip
        print(json.dumps(asked), file=parent.stdin, flush=True)
        code = int(parent.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())
