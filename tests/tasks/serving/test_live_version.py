"""The process of a version: MLflow's app with the model's own code, at a socket, asked for many inputs at once."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest

from graftline.errors import RegistryRefusedError
from graftline.models.media import Medium, media_of
from graftline.settings import Kind
from graftline.tasks.serving.live_version import OK, LiveVersion, Reply, checked, command_of, is_up
from tests.support.running_project import wait_until
from tests.support.served import write_registered
from tests.support.tiny_media import tiny_images, tiny_sounds
from tests.support.tiny_models import tiny_texts
from tests.support.tiny_project import surroundings

KEPT = Path(__file__).parents[2] / "kept" / "release_0.1.0"
SECONDS = 120.0


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """The socket of the version in a folder."""
    with tempfile.TemporaryDirectory() as place:
        socket = Path(place) / "version"
        command = command_of(folder, socket, threads=1, keep_vectors=True)
        process = subprocess.Popen(command, cwd=place, env=surroundings(), stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or (socket.exists() and is_up(socket)), SECONDS)
            assert process.poll() is None
            yield socket
        finally:
            process.terminate()
            process.wait(SECONDS)


def asked(live: LiveVersion, *batches: list[Any]) -> list[Reply]:
    """The replies to batches that are asked at once."""

    async def all_of_them() -> list[Reply]:
        replies = await asyncio.gather(*(live.ask(batch, SECONDS) for batch in batches))
        await live.close()
        return replies

    return asyncio.run(all_of_them())


def inputs(kind: Kind) -> list[Any]:
    if kind == "text":
        return tiny_texts(9)[0]
    contents = tiny_images(5)[0] if kind == "image" else tiny_sounds(5)[0]
    return list(media_of(contents, kind))


@pytest.mark.parametrize("kind", ["text", pytest.param("image", marks=pytest.mark.long),
                                  pytest.param("audio", marks=pytest.mark.long)])  # fmt: skip
def test_each_input_gets_its_own_answer_and_the_vector_that_its_head_read(kind: Kind, tmp_path: Path) -> None:
    folder, raws = write_registered(tmp_path, kind, column="review"), inputs(kind)
    with running(folder) as socket:
        live = checked("m version 1", 1, "r", socket, folder)
        assert (live.reading.kind, live.reading.column) == (kind, "review")
        together, reverse, alone = asked(live, raws, raws[::-1], raws[:1])
    assert (together.status, len(together.records)) == (OK, len(raws))
    contents = [raw.read() if isinstance(raw, Medium) else raw for raw in raws]
    predictor = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()._predictor
    wanted = predictor.features(media_of(contents, kind) if kind != "text" else contents)
    assert together.vectors == pytest.approx(wanted.vectors.numpy(), rel=1e-5, abs=1e-5)
    assert reverse.vectors == pytest.approx(wanted.vectors.numpy()[::-1], rel=1e-5, abs=1e-5)
    assert alone.vectors == pytest.approx(wanted.vectors.numpy()[:1], rel=1e-5, abs=1e-5)
    for one, other in zip(together.records, reverse.records[::-1], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-5, abs=1e-5)


@pytest.mark.full
def test_a_version_of_an_earlier_release_answers_and_has_no_vectors() -> None:
    expected = json.loads((KEPT / "expected.json").read_text(encoding="utf-8"))
    with running(KEPT / "model") as socket:
        live = checked("m version 1", 1, "r", socket, KEPT / "model")
        reply, refused = asked(live, [row["input"] for row in expected], ["\ud800"])
    assert reply.vectors is None
    assert [one["label"] for one in reply.records] == [row["label"] for row in expected]
    assert (refused.status == OK, refused.records) == (False, ())


@pytest.mark.full
def test_a_model_that_graftline_did_not_register_is_refused(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(
        "import mlflow\n"
        "class Echo(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input):\n"
        "        return model_input\n"
        "mlflow.models.set_model(Echo())\n"
    )
    mlflow.pyfunc.save_model(tmp_path / "echo", python_model=str(tmp_path / "echo.py"), pip_requirements=["mlflow"])
    with running(tmp_path / "echo") as socket:
        with pytest.raises(RegistryRefusedError, match="was not registered by `graftline adapt`"):
            checked("m version 1", 1, "r", socket, tmp_path / "echo")
        assert socket.parent.stat().st_mode & 0o077 == 0
