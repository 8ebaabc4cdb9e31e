"""A registered model that answers on a real Ray cluster writes the bytes that it writes without one."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from graftline.models.folders import load_classifier
from graftline.settings import Kind
from graftline.tasks.serving import predicting
from graftline.tasks.serving.answering import RegisteredModel
from graftline.tasks.serving.predicting import Predicted, Trained, predict_table
from graftline.tasks.workers import fanout
from graftline.tasks.workers.fanout import ThisProcess, Workers
from tests.support.running_project import wait_until
from tests.support.served import write_registered
from tests.support.shell import own_code
from tests.support.tiny_media import tiny_images
from tests.support.tiny_models import tiny_texts
from tests.tasks.workers.conftest import PROCESSORS, Losing, Machines

ROWS, CHUNK = 40, 4


def write_source(folder: Path, kind: Kind) -> Path:
    """Rows to answer, of which two cannot be."""
    if kind == "text":
        texts = ["", *tiny_texts(ROWS - 2)[0]]
        (folder / "in.csv").write_bytes(
            "\n".join(["text,n", *(f"{text},1" for text in texts), ""]).encode() + b"\xff,2\n"
        )
        return folder / "in.csv"
    (folder / "in").mkdir()
    for number, content in enumerate([b"no image", *tiny_images(ROWS - 2)[0]]):
        (folder / "in" / f"{number:02}.png").write_bytes(content)
    (folder / "in" / "notes.txt").write_text("no image either")
    return folder / "in"


def predicted(those: Workers, model: RegisteredModel, source: Path, target: Path) -> Predicted:
    token = fanout._workers.set(those)
    try:
        return predict_table(model, Trained("text", "|"), source, target, data=source.parent, threads=PROCESSORS)
    finally:
        fanout._workers.reset(token)


def registered(folder: Path, kind: Kind) -> RegisteredModel:
    version = write_registered(folder, kind)
    return RegisteredModel("tiny version 1", version, kind, load_classifier(folder / "adapted").outputs)


def left() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("graftline-????????*"))


@pytest.mark.parametrize("kind", ["text", pytest.param("image", marks=pytest.mark.long)])
def test_a_table_has_the_same_bytes_though_a_node_is_lost_and_no_machine_keeps_the_model(
    machines: Machines, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source, before = registered(tmp_path / "model", kind), write_source(tmp_path, kind), left()
    monkeypatch.setitem(predicting.CHUNK_ROWS, kind, CHUNK)
    monkeypatch.setattr(predicting, "PART_CHUNKS", 3)
    losing = Losing(machines, tmp_path)
    there = predicted(losing, model, source, tmp_path / "there.csv")
    here = predicted(ThisProcess(), model, source, tmp_path / "here.csv")
    assert losing.lost
    assert there == here
    assert (here.read, here.refused) == (ROWS, 2)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    machines.workers._disconnect()
    wait_until(lambda: left() == before, seconds=30)


ALONE = f"""
import sys
from pathlib import Path
from graftline.tasks.serving import predicting
from graftline.tasks.workers.fanout import fanned_out
from graftline.tasks.workspace import Workspace
from tests.tasks.workers.test_predicting_there import RegisteredModel, Trained, load_classifier
root = Path(sys.argv[1])
predicting.CHUNK_ROWS["text"], predicting.PART_CHUNKS = {CHUNK}, 3
outputs = load_classifier(root / "model" / "adapted").outputs
model = RegisteredModel("tiny version 1", root / "model" / "registered", "text", outputs)
with fanned_out(Workspace(root)):
    predicting.predict_table(
        model, Trained("text", "|"), root / "in.csv", root / "there.csv", data=root, threads={PROCESSORS}
    )
"""


@pytest.mark.long
def test_a_run_that_is_killed_while_a_cluster_answers_goes_on_to_the_same_bytes(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, texts = registered(tmp_path / "model", "text"), tiny_texts(600)[0]
    source = tmp_path / "in.csv"
    source.write_text("\n".join(["text", *texts, ""]))
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "compute.yaml").write_text(f"engine: ray\naddress: {machines.cluster.address}\n")
    machines.whole()
    killed = subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path)], env={**os.environ, **own_code()})
    wait_until(lambda: (tmp_path / ".there.csv.parts" / "00000001.json").exists() or killed.poll() is not None)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    monkeypatch.setitem(predicting.CHUNK_ROWS, "text", CHUNK)
    monkeypatch.setattr(predicting, "PART_CHUNKS", 3)
    done = predicted(machines.workers, model, source, tmp_path / "there.csv")
    whole = predicted(ThisProcess(), model, source, tmp_path / "here.csv")
    assert (done.read, done.answered) == (whole.read, whole.answered) == (600, 600)
    assert 2 * 3 * CHUNK <= done.kept < 600
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
