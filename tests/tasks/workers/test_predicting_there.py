"""A registered model that answers on a real Ray cluster writes the bytes that it writes without one."""

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


def left() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("graftline-????????*"))


@pytest.mark.parametrize("kind", ["text", pytest.param("image", marks=pytest.mark.long)])
def test_a_table_has_the_same_bytes_though_a_node_is_lost_and_no_machine_keeps_the_model(
    machines: Machines, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before = write_registered(tmp_path / "model", kind), left()
    model = RegisteredModel("tiny version 1", folder, kind, load_classifier(tmp_path / "model" / "adapted").outputs)
    source = write_source(tmp_path, kind)
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
