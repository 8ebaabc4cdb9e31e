"""Training by several processes of a real Ray cluster: as many give equal bits, also if one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftline.digests import tensors_sha256
from graftline.errors import DataRefusedError, SettingsError, Stopped
from graftline.frozen.eviction import open_feature_store
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.stopping import stoppable
from graftline.tasks.workers import fanout
from graftline.tasks.workers.fanout import Needs, train_for
from graftline.tasks.workers.gang import TrainedTogether
from graftline.tasks.workers.on_ray import RayWorkers
from graftline.tasks.workspace import Workspace
from graftline.training import loop
from graftline.training.objective import Objective
from graftline.training.plan import Train
from graftline.training.progress import DivergedError, Epoch, Listener, Progress
from graftline.training.single_label import OneLabel, objective_for
from graftline.training.strategies import Adaptation
from tests.support.shell import own_code
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model
from tests.support.tiny_project import surroundings, write_project
from tests.tasks.workers.conftest import Machines

pytestmark = pytest.mark.full
HALF: dict[str, Any] = {"strategy": "partial", "freeze_until": "1"}
WHOLE: dict[str, Any] = {"strategy": "fine_tuning"}


@dataclass(frozen=True)
class Killing(OneLabel):
    """An objective that kills the second process in the middle of its training, once."""

    once: Path = Path()
    after: int = 16
    losses: list[int] = field(default_factory=list)

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        self.losses.append(len(targets))
        if len(self.losses) > self.after and torch.distributed.get_rank() == 1 and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(logits, targets, weights)


class Failing(OneLabel):
    """An objective that fails in the second process alone."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        if torch.distributed.get_rank() == 1:
            raise DataRefusedError("row 3: cannot be read")
        return super().loss(outputs, targets, weights)


@dataclass
class Ran:
    weights: dict[str, Tensor]
    epochs: list[Epoch]
    steps: list[int] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return tensors_sha256(self.weights)


def ran(
    base: Path,
    folder: Path,
    train: Train,
    *,
    during: Callable[[Progress], object] = lambda _: None,
    bias: float = 0.0,
    objective_for: Callable[..., Objective] = objective_for,
    **chosen: Any,
) -> Ran:
    """A tiny model, adapted in a project folder."""
    usual: dict[str, Any] = {
        "epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "threads": 1, "device": "cpu", "refit_rows": 0,
    }  # fmt: skip
    settings = AdaptationSettings(**usual | chosen)
    rows = {"train": tiny_rows(base, 60), "validation": tiny_rows(base, 20, seed=1)}
    done = Ran({}, [])

    def progress(told: Progress) -> None:
        done.steps.append(told.step)
        during(told)

    model = tiny_classifier(base)
    torch.nn.init.constant_(model.output_layer.bias, bias)
    Adaptation(
        model, rows, settings, objective_for,
        lambda point: open_feature_store(
            folder / "features", str(point.first_trainable), precision="float32", limit_bytes=1 << 30
        ),
        folder / "checkpoints", Listener(progress, done.epochs.append), train=train,
    ).run()  # fmt: skip
    done.weights = dict(model.state_dict())
    return done


def together(machines: Machines, folder: Path, count: int) -> TrainedTogether:
    return TrainedTogether(machines.workers, Workspace(folder), count, Needs(), "cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def undropped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, whose masks every number of processes draws otherwise."""
    folder = tmp_path_factory.mktemp("undropped") / "base"
    return write_tiny_model(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.mark.parametrize("chosen", [HALF, pytest.param(WHOLE, marks=pytest.mark.long)], ids=["replayed", "whole"])
def test_another_number_of_processes_learns_the_same_but_for_rounding(
    machines: Machines, undropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    monkeypatch.setattr("graftline.models.classifier.HEAD_DROPOUT", 0.0)
    again = {**chosen, "refit_rows": 80}  # and then once more from all 80 rows, as a run does with so few
    alone = ran(undropped, tmp_path / "alone", loop.train, **again)
    three = ran(undropped, tmp_path / "three", together(machines, tmp_path, 3), **again)
    assert three.steps[-1] == alone.steps[-1] == 20
    assert [epoch.number for epoch in three.epochs] == [1, 2]
    for one, other in zip(alone.epochs, three.epochs, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, abs=1e-4)
        assert other.validation_loss == pytest.approx(one.validation_loss, abs=1e-4)
    moved = max(float((three.weights[name] - tensor).abs().max()) for name, tensor in alone.weights.items())
    assert moved < 1e-3


@pytest.fixture(scope="module")
def whole(machines: Machines, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """By two processes whom nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    return ran(base, folder, together(machines, folder, 2), epochs=3, **HALF)


def test_as_many_processes_give_equal_bits_also_if_one_is_killed_in_the_middle(
    machines: Machines, base: Path, whole: Ran, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With dropout. The second process is killed in the third epoch; a checkpoint was written after each before it."""
    killing = Killing(once=tmp_path / "killed")
    lost = ran(
        base, tmp_path, together(machines, tmp_path, 2), objective_for=lambda *_, **__: killing, epochs=3, **HALF
    )
    assert killing.once.exists()
    assert caplog.text.count("lost a process") == 1
    assert lost.sha256 == whole.sha256
    assert lost.epochs == whole.epochs, "each is told once"


def pids() -> list[int]:
    """Of the processes that train, in the order in which they began."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (line := command(entry)).startswith("ray::Member"):
            found.append((int(entry.name), line))
    return [number for number, _ in sorted(found)]


def command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_who_is_stopped_leaves_a_checkpoint_and_goes_on_from_it(
    machines: Machines, base: Path, whole: Ran, tmp_path: Path
) -> None:
    def ask(_: Progress) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with stoppable(), pytest.raises(Stopped):
        ran(base, tmp_path / "stopped", together(machines, tmp_path, 2), during=ask, epochs=3, **HALF)
    assert list((tmp_path / "stopped" / "checkpoints").glob("*"))
    until = time.monotonic() + 30
    while pids() and time.monotonic() < until:
        time.sleep(0.1)
    assert not pids()
    rest = ran(base, tmp_path / "stopped", together(machines, tmp_path, 2), epochs=3, **HALF)
    assert rest.sha256 == whole.sha256


@pytest.mark.long
def test_what_a_training_raises_comes_back_as_it_is(
    machines: Machines, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataRefusedError, match="row 3: cannot be read"):
        ran(base, tmp_path / "one", together(machines, tmp_path, 2), objective_for=lambda *_, **__: Failing(), **WHOLE)
    assert "lost a process" not in caplog.text
    with pytest.raises(DivergedError, match="the training diverged"):
        ran(base, tmp_path / "run", together(machines, tmp_path, 2), bias=float("nan"), **WHOLE)


def test_more_processes_than_there_is_room_for_are_refused(machines: Machines, base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"adaptation\.workers 9: the machines .* have room for 4 processes with 1 of CPU each"
    ):
        ran(base, tmp_path / "run", together(machines, tmp_path, 9), **WHOLE)
    wanting = RayWorkers(machines.workers._compute.model_copy(update={"memory_gigabytes": 9_000.0}))
    wanting._connection = machines.workers.ray
    with pytest.raises(SettingsError, match=r"room for 0 processes with 1 of CPU, 9,000,000,000,000 of memory each"):
        ran(base, tmp_path / "run", TrainedTogether(wanting, Workspace(tmp_path), 2, Needs(), "cpu"), **WHOLE)


def test_several_without_a_cluster_and_with_what_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    several = AdaptationSettings(strategy="fine_tuning", workers=2)
    assert isinstance(fanout.workers(), fanout.ThisProcess)
    with pytest.raises(SettingsError, match=r"adaptation\.workers 2: .* names none; set engine: ray there"):
        train_for(Workspace(tmp_path), several)
    for chosen, match in (
        ({"strategy": "contrastive"}, "workers 2 with strategy contrastive: several processes share"),
        ({"strategy": "fine_tuning", "compile": True}, "workers 2 with compile true"),
        ({"strategy": "fine_tuning", "batch_size": 3}, "workers 2 with batch_size 3"),
        ({"strategy": "fine_tuning", "class_weights": "balanced"}, "workers 2 with class_weights balanced"),
    ):
        with pytest.raises(ValueError, match=match):
            AdaptationSettings(workers=2, **chosen)


@pytest.mark.long
def test_runs_of_two_models_at_once_on_one_cluster_come_out_as_one_alone(machines: Machines, tmp_path: Path) -> None:
    """Each its own command, registry and history; the cluster shares its processors out among them."""

    def begin(name: str) -> "subprocess.Popen[str]":
        project = write_project(tmp_path / name)
        (project / "mlflow" / "compute.yaml").write_text(f"engine: ray\naddress: {machines.cluster.address}\n")
        asked = ["adaptation.workers=2", "adaptation.threads=1", "adaptation.strategy=probe_then_fine_tune"]
        command = [sys.executable, "-m", "graftline", "adapt", *(word for one in asked for word in ("--set", one))]
        return subprocess.Popen(
            command, cwd=project, env=surroundings(**own_code()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def weights(name: str) -> list[str]:
        found = (tmp_path / name / "artifacts" / "fine_tune").glob("*/training.json")
        return [json.loads(path.read_text())["weights_sha256"] for path in found]

    both = [begin("one"), begin("two")]
    for run in both:
        said, _ = run.communicate(timeout=500)
        assert run.returncode == 0, said
        assert "registered  tiny version 1" in said
    alone = begin("alone")
    said, _ = alone.communicate(timeout=500)
    assert alone.returncode == 0, said
    assert len(weights("alone")) == 1
    assert weights("one") == weights("two") == weights("alone")
