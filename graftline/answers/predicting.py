"""Adapted models of every task, ready to answer."""

from pathlib import Path

from graftline.answers.tasks import TASKS
from graftline.compute.precision import Precision
from graftline.models.predictor import Computes, Device, Predictor


def predictor_of(
    folder: Path, *, precision: Precision = "float32", runtime: Computes = "torch", device: Device = "cpu"
) -> Predictor:
    """The model in a folder. Raises: ValueError for a way to compute that there is not."""
    kinds = {name: task.outputs for name, task in TASKS.items()}
    return Predictor(folder, kinds, precision=precision, runtime=runtime, device=device)
