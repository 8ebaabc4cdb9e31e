"""What is learned from a teacher beside the labels: the loss against its formula, and rows that have no label."""

import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from torch import Tensor, nn

from graftline.answers.tasks import TASKS
from graftline.models.outputs import Outputs
from graftline.settings import Task
from graftline.training.distillation import TEACHER_SHARE, TEMPERATURE, beside, taught
from graftline.training.linear_head import solve_head

ROWS, LETTERS = 40, ("a", "b", "c")
OUTPUTS: dict[Task, Outputs] = {
    "single_label": Outputs("single_label", LETTERS),
    "multi_label": Outputs("multi_label", LETTERS),
    "regression": Outputs("regression"),
}


def drawn(width: int = 3, *, seed: int = 1, rows: int = ROWS) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def targets_of(task: Task) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if task == "single_label":
        return torch.randint(3, (ROWS,), generator=generator)
    return torch.randint(2, (ROWS, 3), generator=generator).float() if task == "multi_label" else drawn(1, seed=4)


def test_half_the_loss_is_that_on_the_labels_and_half_the_divergence_of_softened_answers() -> None:
    outputs, said, targets = drawn(), drawn(seed=2), targets_of("single_label")
    objective = taught(TASKS["single_label"].objective_for)(OUTPUTS["single_label"], beside(targets, said))
    own, of_teacher = (softmax(each.numpy() / TEMPERATURE, axis=1) for each in (outputs, said))
    labelled = -log_softmax(outputs.numpy(), axis=1)[range(ROWS), targets].mean()
    expected = (1 - TEACHER_SHARE) * labelled + TEACHER_SHARE * TEMPERATURE**2 * entropy(of_teacher.T, own.T).mean()
    assert float(objective.loss(outputs, beside(targets, said))) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_labels_alone_judge_and_a_pupil_that_answers_like_its_teacher_has_nothing_to_learn_from_it(
    task: Task,
) -> None:
    targets, said = targets_of(task), drawn(OUTPUTS[task].width, seed=2)
    plain = TASKS[task].objective_for(OUTPUTS[task], targets)
    objective = taught(TASKS[task].objective_for)(OUTPUTS[task], beside(targets, said))
    outputs = drawn(OUTPUTS[task].width)
    assert objective.score(outputs, beside(targets, said)) == plain.score(outputs, targets)
    assert torch.equal(
        objective.validation_loss(outputs, beside(targets, said)), plain.validation_loss(outputs, targets)
    )
    alike = said.clone().requires_grad_()
    objective.loss(alike, beside(targets[:0], said)).backward()  # type: ignore[no-untyped-call]
    assert alike.grad is not None
    assert float(alike.grad.abs().max()) < 1e-6  # sums in another order


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_loss_of_rows_with_and_without_labels_is_the_mean_over_both(task: Task) -> None:
    width, targets = OUTPUTS[task].width, targets_of(task)
    said, outputs = drawn(width, seed=2, rows=2 * ROWS), drawn(width, rows=2 * ROWS)
    packed = beside(targets, said)
    objective = taught(TASKS[task].objective_for)(OUTPUTS[task], packed)
    parts = [objective.loss(outputs[rows], packed[rows]) for rows in (slice(ROWS), slice(ROWS, None))]
    assert float(objective.loss(outputs, packed)) == pytest.approx(float(sum(parts) / 2), rel=1e-5)


@pytest.mark.parametrize("task", OUTPUTS)
def test_weights_of_rows_count_in_both_halves(task: Task) -> None:
    width, targets, said = OUTPUTS[task].width, targets_of(task), drawn(OUTPUTS[task].width, seed=2)
    packed, outputs = beside(targets, said), drawn(width)
    objective = taught(TASKS[task].objective_for)(OUTPUTS[task], packed)
    some = torch.arange(ROWS) < ROWS // 2
    weights = 2.0 * some if targets.ndim == 1 or task == "regression" else 2.0 * some[:, None].expand(ROWS, width)
    of_some = objective.loss(outputs[some], packed[some])
    assert float(objective.loss(outputs, packed, weights)) == pytest.approx(float(of_some), rel=1e-5)


def test_classes_are_weighed_by_the_rows_that_have_labels() -> None:
    targets = torch.tensor([0, 0, 0, 1, 1, 2])
    said = drawn(rows=10)
    objective = taught(TASKS["single_label"].objective_for)(
        OUTPUTS["single_label"], beside(targets, said), balanced=True
    )
    plain = TASKS["single_label"].objective_for(OUTPUTS["single_label"], targets, balanced=True)
    outputs = drawn(rows=6, seed=5)
    of_teacher = objective.loss(outputs, beside(targets[:0], said[:6]))
    together = objective.loss(outputs, beside(targets, said[:6]))
    assert float(together - of_teacher) == pytest.approx(float((1 - TEACHER_SHARE) * plain.loss(outputs, targets)))


def test_a_head_that_is_solved_on_rows_without_labels_becomes_its_teacher() -> None:
    teacher = nn.Linear(5, 3)
    with torch.no_grad():
        nn.init.normal_(teacher.weight, generator=torch.Generator().manual_seed(7))
        features = drawn(5, rows=400)
        said = teacher(features)
    none = torch.zeros(0, dtype=torch.int64)
    held = torch.randint(3, (50,), generator=torch.Generator().manual_seed(8))
    objective = taught(TASKS["single_label"].objective_for)(OUTPUTS["single_label"], beside(none, said))
    solved = solve_head(
        features,
        beside(none, said),
        validation=(features[:50], beside(held, said[:50])),
        outputs=3,
        objective=objective,
        penalty=1e-6,
    )
    answers = features @ solved.weight.T + solved.bias
    assert torch.equal(answers.argmax(1), said.argmax(1))
