"""What has to be right on a device before its speed is of interest."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.sides import Device
from benchmarks.problems.problem import Task
from benchmarks.sides.ours import adapt
from graftline.compute.precision import Precision
from graftline.digests import tensors_sha256
from graftline.frozen.freezing import freeze
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.settings.adaptation import AdaptationSettings

# Of the largest number in a feature vector. In float32 the order of sums differs; bfloat16 keeps eight bits, block by
# block.
MOST_APART: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 5e-2}
ROWS = 8
FEW_ROWS = 64
# The engine's tests that look for a GPU themselves.
TESTS = ("tests/graftline/compute/test_device.py", "tests/graftline/training/test_compiling.py")
TEST_SECONDS = 240


@dataclass(frozen=True)
class Check:
    """What was checked and what was found; it is right where nothing is wrong."""

    what: str
    found: str
    right: bool


def checks(name: str, task: Task, device: Device, precision: Precision) -> Iterator[Check]:
    """Of one base model: its features beside the processor's, a repetition, and what is frozen."""
    for way in ("float32", precision) if precision != "float32" else ("float32",):
        apart = features_apart(task, device, way)
        limit = MOST_APART[way]
        found = f"{apart:.1e} of the largest apart, at most {limit:.0e}"
        yield Check(f"{name}: features in {way} beside the processor's in float32", found, apart <= limit)
    few = task.small(FEW_ROWS)
    settings = AdaptationSettings(strategy="partial", freeze_until="0.5", epochs=1, batch_size=8, precision=precision)
    one, other = (adapt(few, settings, device=device).model for _ in range(2))
    digests = [tensors_sha256(dict(model.state_dict())) for model in (one, other)]
    yield Check(
        f"{name}: the same training twice", f"digests {digests[0][:8]} and {digests[1][:8]}", len(set(digests)) == 1
    )
    moved, kept, wrong = moved_and_kept(task, one)
    found = f"{kept} frozen tensors are as they were, {moved} of the others learned, {wrong} frozen ones did, too"
    yield Check(f"{name}: half frozen", found, bool(kept and moved and not wrong))


def features_apart(task: Task, device: Device, precision: Precision) -> float:
    """The largest difference between the features of a few rows there and here, as a share of the largest number."""
    preprocessor, model = load_preprocessor(task.base, task.reading), _model(task).eval()
    batch = preprocessor.collate(preprocessor.encode(task.train.inputs[:ROWS]))
    with torch.inference_mode():
        here = model.features(**batch)
        model.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            there = model.features(**{name: tensor.to(device) for name, tensor in batch.items()})
    return float((there.float().cpu() - here).abs().max() / here.abs().max())


def moved_and_kept(task: Task, model: Classifier) -> tuple[int, int, int]:
    """How many tensors learned that may, how many frozen ones are the base's to the bit, and how many are not."""
    base, preprocessor = _model(task), load_preprocessor(task.base, task.reading)
    example = preprocessor.collate(preprocessor.encode(task.train.inputs[:2]))
    point = freeze(base, "partial", "0.5", example=example)
    before, after = dict(base.named_parameters()), dict(model.named_parameters())
    same = {name: torch.equal(tensor, after[name].cpu()) for name, tensor in before.items()}
    kept = sum(same[name] for name in point.frozen_parameters)
    moved = sum(not same[name] for name in point.trainable_parameters)
    return moved, kept, len(point.frozen_parameters) - kept


def tests_on_the_gpu(root: Path) -> Check:
    """The engine's own tests of a GPU, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *TESTS]
    what = "the engine's tests of a GPU"
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=root, capture_output=True, text=True, timeout=TEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(what, f"not done after {TEST_SECONDS} s", right=False)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return Check(what, said[-1] if said else "they said nothing", done.returncode == 0)


def _model(task: Task) -> Classifier:
    return load_base(task.base, Outputs("single_label", task.labels), reading=task.reading, seed=0)
