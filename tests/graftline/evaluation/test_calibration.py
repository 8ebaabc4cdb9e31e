"""A temperature has the lowest log loss of all, and changes no label."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor

from graftline.answers.tasks import TASKS
from graftline.evaluation.metrics import Floats
from graftline.models.outputs import Outputs
from graftline.settings import Task

ROWS = 300


def answers(task: Task, raw: Tensor, temperature: float = 1.0) -> Tensor:
    return TASKS[task].outputs.answers(Outputs(task, ("a", "b", "c"), temperature=temperature), raw)


def drawn(task: Task, *, truly: float, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Raw outputs, and targets that are drawn with the probabilities of this temperature."""
    random = np.random.default_rng(seed)
    outputs = random.normal(0, 2, (ROWS, 3))
    probabilities = answers(task, torch.from_numpy(outputs), truly).numpy()
    if task == "multi_label":
        return outputs, (random.random((ROWS, 3)) < probabilities).astype(np.int64)
    return outputs, np.array([random.choice(3, p=row) for row in probabilities])


def loss(task: Task, outputs: Floats, targets: NDArray[np.int64], temperature: float) -> float:
    probabilities = answers(task, torch.from_numpy(outputs), temperature).numpy()
    if task == "single_label":
        return float(log_loss(targets, probabilities, labels=[0, 1, 2]))
    return float(np.mean([log_loss(t, p, labels=[0, 1]) for t, p in zip(targets.T, probabilities.T, strict=True)]))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
@pytest.mark.parametrize("truly", [0.3, 1.0, 2.5])
def test_the_temperature_is_where_scipy_finds_the_lowest_log_loss(task: Task, truly: float) -> None:
    outputs, targets = drawn(task, truly=truly, seed=1)
    theirs = minimize_scalar(
        lambda log: loss(task, outputs, targets, float(np.exp(log))), bounds=(-5, 5), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    found = TASKS[task].scores.temperature(outputs, targets)
    assert found == pytest.approx(np.exp(theirs.x), rel=1e-4)
    assert found == pytest.approx(truly, rel=0.25)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_temperature_is_found_however_large_the_outputs_are(scale: float) -> None:
    outputs, targets = drawn("single_label", truly=1.0, seed=2)
    assert TASKS["single_label"].scores.temperature(scale * outputs, targets) == pytest.approx(
        scale * TASKS["single_label"].scores.temperature(outputs, targets), rel=1e-6
    )


@given(st.integers(0, 999), st.floats(0.05, 20), st.sampled_from(["single_label", "multi_label"]))
def test_no_temperature_changes_a_label(seed: int, temperature: float, task: Task) -> None:
    raw = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (50, 3))).float()
    before, after = (answers(task, raw, each).numpy() for each in (1.0, temperature))
    if task == "multi_label":
        np.testing.assert_array_equal(before >= 0.5, after >= 0.5)
    else:
        np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


def test_numbers_have_no_temperature() -> None:
    numbers = np.random.default_rng(0).normal(0, 1, (9, 1))
    assert TASKS["regression"].scores.temperature(numbers, numbers) == 1
    raw = torch.ones(1, 1)
    assert torch.equal(answers("regression", raw, 3.0), answers("regression", raw))


def test_where_no_temperature_is_best_it_stays_one() -> None:
    outputs, _ = drawn("single_label", truly=1.0, seed=3)
    assert TASKS["single_label"].scores.temperature(outputs, outputs.argmax(1)) == 1
    assert TASKS["multi_label"].scores.temperature(outputs, (outputs > 0).astype(np.int64)) == 1
    # Always wrong: every higher temperature would be better.
    assert TASKS["single_label"].scores.temperature(outputs, outputs.argmin(1)) == 1
    assert TASKS["single_label"].scores.temperature(np.zeros((ROWS, 3)), outputs.argmax(1)) == 1
