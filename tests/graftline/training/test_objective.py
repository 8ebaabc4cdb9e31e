"""Objectives and outputs: losses and scores against scikit-learn, and answers in the unit of the targets."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss, r2_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from graftline.answers.tasks import TASKS
from graftline.models.outputs import Outputs
from graftline.models.regression import OUTPUTS as NUMBERS
from graftline.training.multi_label import SeveralLabels, balanced_label_weights
from graftline.training.regression import Number
from graftline.training.single_label import OneLabel

ROWS, LABELS = 40, 3
LETTERS = ("a", "b", "c")


def drawn(width: int = LABELS) -> Tensor:
    return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(1))


def there(seed: int = 2) -> Tensor:
    return torch.randint(2, (ROWS, LABELS), generator=torch.Generator().manual_seed(seed)).float()


def test_targets_are_read_as_places_as_what_is_there_and_as_numbers() -> None:
    assert TASKS["single_label"].outputs.read(["b", "a"], ["a", "b"], "|").tolist() == [1, 0]
    several = TASKS["multi_label"].outputs.read(["b|a", "|", "c"], ["a", "b", "c"], "|")
    assert several.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert NUMBERS.read(["0.1", "-3e2"], [], "|").tolist() == [[0.1], [-300.0]]


def test_numbers_are_learned_standardised_and_answered_in_their_own_unit() -> None:
    train = NUMBERS.read(["1000", "1002", "1004"], [], "|")
    outputs = NUMBERS.outputs_for([], train)
    learned = NUMBERS.as_learned(outputs, train)
    assert (outputs.width, learned.dtype) == (1, torch.float32)
    assert (float(learned.mean()), float(learned.std(correction=0))) == pytest.approx((0, 1), abs=1e-6)
    assert NUMBERS.answers(outputs, learned).numpy() == pytest.approx(train.numpy(), abs=1e-3)


def test_numbers_that_are_all_the_same_can_be_answered() -> None:
    train = NUMBERS.read(["5", "5"], [], "|")
    outputs = NUMBERS.outputs_for([], train)
    assert NUMBERS.answers(outputs, NUMBERS.as_learned(outputs, train)).tolist() == [[5.0], [5.0]]


def test_probabilities_of_one_label_add_up_to_one_and_of_several_are_each_their_own() -> None:
    raw = drawn()
    assert TASKS["single_label"].outputs.answers(Outputs("single_label", LETTERS), raw).sum(1).numpy() == pytest.approx(
        np.ones(ROWS)
    )
    several = TASKS["multi_label"].outputs.answers(Outputs("multi_label", LETTERS), raw).numpy()
    assert several == pytest.approx(1 / (1 + np.exp(-raw.double().numpy())))


def test_the_loss_of_several_labels_is_the_log_loss_of_scikit_learn() -> None:
    raw, targets = drawn(), there()
    theirs = [log_loss(t, p) for t, p in zip(targets.T.numpy(), raw.double().sigmoid().T.numpy(), strict=True)]
    for loss in (SeveralLabels().loss, SeveralLabels(torch.ones(LABELS) * 3, 0.2).validation_loss):
        assert float(loss(raw, targets)) == pytest.approx(np.mean(theirs), rel=1e-5)


def test_smoothed_labels_are_least_surprised_by_a_smoothed_probability() -> None:
    objective, targets = SeveralLabels(label_smoothing=0.2), torch.ones(1, 1)
    losses = {p: float(objective.loss(torch.tensor([[p]]).logit(), targets)) for p in (0.85, 0.9, 0.95)}
    assert min(losses, key=losses.__getitem__) == 0.9


def test_balanced_label_weights_are_the_ratio_of_scikit_learns_class_weights() -> None:
    targets = there()
    weights = [compute_class_weight("balanced", classes=np.arange(2), y=column) for column in targets.T.int().numpy()]
    expected = [weight[1] / weight[0] for weight in weights]
    assert balanced_label_weights(targets).numpy() == pytest.approx(expected)
    assert balanced_label_weights(torch.tensor([[0.0, 1.0]] * 4)).tolist() == [4.0, 0.25]


def test_adjusted_outputs_learn_the_log_loss_of_scikit_learn_at_the_frequency_of_the_labels() -> None:
    raw, places = drawn(), torch.arange(ROWS) % 10 % LABELS  # 16, 12 and 12
    one = TASKS["single_label"].objective_for(Outputs("single_label", LETTERS), places, adjusted=True)
    shares = np.bincount(places.numpy()) / ROWS
    theirs = log_loss(places.numpy(), (raw.double() + torch.tensor(shares).log()).softmax(1).numpy())
    several = TASKS["multi_label"].objective_for(Outputs("multi_label", LETTERS), there(), adjusted=True)
    odds = there().double().mean(0) / (1 - there().double().mean(0))
    per_label = (raw.double() + odds.log()).sigmoid().T.numpy()
    of_labels = np.mean([log_loss(t, p) for t, p in zip(there().T.numpy(), per_label, strict=True)])
    for loss in ("loss", "validation_loss"):
        assert float(getattr(one, loss)(raw, places)) == pytest.approx(theirs, rel=1e-5)
        assert float(getattr(several, loss)(raw, there())) == pytest.approx(of_labels, rel=1e-5)
    # What is answered is judged as it is answered.
    assert one.score(raw, places) == OneLabel().score(raw, places)


def test_a_label_without_rows_is_adjusted_as_if_it_had_one() -> None:
    outputs = Outputs("single_label", LETTERS)
    one = TASKS["single_label"].objective_for(outputs, torch.tensor([0, 0, 0, 1]), adjusted=True)
    assert isinstance(one, OneLabel)
    assert one.shift is not None
    assert one.shift.exp().tolist() == pytest.approx([0.75, 0.25, 0.25])


def test_a_positive_weight_counts_the_rows_that_have_the_label() -> None:
    raw, targets = drawn(1), there()[:, :1]
    has = targets[:, 0] > 0
    losses = torch.nn.functional.binary_cross_entropy_with_logits(raw, targets, reduction="none")[:, 0]
    expected = (4 * losses[has].sum() + losses[~has].sum()) / ROWS
    assert float(SeveralLabels(torch.tensor([4.0])).loss(raw, targets)) == pytest.approx(float(expected))


def test_the_scores_are_those_of_scikit_learn() -> None:
    raw, targets = drawn(), there()
    theirs = f1_score(targets.numpy(), raw.numpy() >= 0, average="macro", zero_division=0)
    assert SeveralLabels().score(raw, targets) == pytest.approx(theirs)
    numbers = drawn(1)
    assert Number().score(numbers * 0.5, numbers) == pytest.approx(r2_score(numbers.numpy(), numbers.numpy() * 0.5))
    assert Number().score(numbers, torch.ones(ROWS, 1)) == 0.0


def test_each_task_has_its_objective_and_weights_only_on_request() -> None:
    several = TASKS["multi_label"].objective_for(
        Outputs("multi_label", LETTERS), there(), balanced=True, label_smoothing=0.1
    )
    assert isinstance(several, SeveralLabels)
    assert several.weights is not None
    one = TASKS["single_label"].objective_for(Outputs("single_label", LETTERS), torch.arange(6) % 3)
    assert isinstance(one, OneLabel)
    assert one.weights is None
    assert isinstance(TASKS["regression"].objective_for(Outputs("regression"), drawn(1)), Number)
