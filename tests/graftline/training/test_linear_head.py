"""The solved head: the optimum that scikit-learn finds, for features of any scale."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from graftline.frozen import vectors
from graftline.frozen.vectors import FiledVectors, Vectors
from graftline.training.linear_head import PENALTIES, Refit, SolvedHead, solve_head
from graftline.training.multi_label import SeveralLabels
from graftline.training.objective import Objective
from graftline.training.regression import Number
from graftline.training.reweighing import OfRows
from graftline.training.single_label import OneLabel, log_frequencies

loss_of = nn.functional.cross_entropy


@dataclass(frozen=True, eq=False)
class AsItIs:
    """An objective that does not say how much rows count."""

    plain: Objective

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.plain.loss(outputs, targets, weights)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.plain.validation_loss(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return self.plain.score(outputs, targets)


def drawn(rows: int, *, seed: int, width: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Features far from standardised, and labels that depend on them with noise."""
    weights = torch.randn(width, classes, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(seed)
    plain = torch.randn(rows, width, generator=random)
    noise = torch.randn(rows, classes, generator=random)
    scales = torch.logspace(-2, 2, width)
    return plain * scales + 3 * scales, (plain @ weights + noise).argmax(1)


def scaled(features: Tensor) -> Tensor:
    """Centred, and divided by the root of the spread, as a share of what all features have."""
    spread = features.double().std(0, correction=0)
    return (features - features.double().mean(0)) / (spread * (spread**2).mean().sqrt()).sqrt()


def solved(penalty: float | None = None, objective: Objective | None = None) -> SolvedHead:
    features, targets = drawn(200, seed=1)
    chosen = objective or OneLabel()
    return solve_head(features, targets, validation=drawn(80, seed=2), outputs=3, objective=chosen, penalty=penalty)


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_optimum_is_the_one_that_scikit_learn_finds(penalty: float) -> None:
    features, targets = drawn(200, seed=1)
    reference = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-10, max_iter=10_000)
    reference.fit(scaled(features).numpy(), targets.numpy())
    head = solved(penalty)
    ours = (features @ head.weight.T + head.bias).softmax(1).numpy()
    theirs = reference.predict_proba(scaled(features).numpy())
    assert np.abs(ours - theirs).max() < 1e-3


def test_a_head_that_learns_adjusted_outputs_is_the_plain_one_without_the_frequency_of_the_labels() -> None:
    """Its bias is free, so what is added in the loss comes off it: to adjust in the loss or behind it is the same."""
    _, targets = drawn(200, seed=1)
    shift = log_frequencies(targets, 3)
    plain, adjusted = solved(1e-2), solved(1e-2, OneLabel(shift=shift))
    # Not bit for bit: both end at the optimum but for the tolerance of the gradient.
    torch.testing.assert_close(adjusted.weight, plain.weight, rtol=1e-3, atol=1e-4)
    expected = plain.bias - shift
    torch.testing.assert_close(adjusted.bias - adjusted.bias.mean(), expected - expected.mean(), rtol=1e-3, atol=1e-3)


def test_for_numbers_the_optimum_is_scikit_learns_ridge_regression() -> None:
    features, _ = drawn(200, seed=1)
    targets = features[:, :1] * 3 + torch.randn(200, 1, generator=torch.Generator().manual_seed(4)) + 5
    head = solve_head(features, targets, validation=(features, targets), outputs=1, objective=Number(), penalty=0.1)
    # Scikit-learn's penalty is on the sum of the squares, ours on half of the weights' beside their mean.
    reference = Ridge(alpha=0.1 / 2 * len(features)).fit(scaled(features).numpy(), targets.numpy())
    theirs = reference.predict(scaled(features).numpy()).ravel()
    assert (features @ head.weight.T + head.bias)[:, 0].numpy() == pytest.approx(theirs, abs=1e-3)


def test_for_several_labels_each_has_the_optimum_of_its_own_logistic_regression() -> None:
    features, labels = drawn(200, seed=1)
    targets = torch.stack([labels == 0, labels > 0, labels == 2], dim=1).float()
    head = solve_head(
        features, targets, validation=(features, targets), outputs=3, objective=SeveralLabels(), penalty=0.01
    )
    ours = (features @ head.weight.T + head.bias).sigmoid().numpy()
    inputs = scaled(features).numpy()
    for label in range(3):
        # The loss is a mean over three labels, so that the penalty counts three times as much for each.
        reference = LogisticRegression(C=1 / (3 * 0.01 * len(features)), tol=1e-10, max_iter=10_000)
        theirs = reference.fit(inputs, targets[:, label].numpy()).predict_proba(inputs)[:, 1]
        assert np.abs(ours[:, label] - theirs).max() < 1e-3


def test_the_penalty_is_the_one_with_the_lowest_validation_loss() -> None:
    head = solved()
    losses = {penalty: solved(penalty).validation_loss for penalty in PENALTIES}
    assert head.penalty in PENALTIES
    assert head.validation_loss == pytest.approx(min(losses.values()), abs=1e-3)


def test_the_losses_are_those_of_the_returned_weights() -> None:
    (features, targets), (held, labels) = drawn(200, seed=1), drawn(80, seed=2)
    head = solved(0.01)
    assert float(loss_of(features @ head.weight.T + head.bias, targets)) == pytest.approx(head.train_loss, abs=1e-4)
    assert float(loss_of(held @ head.weight.T + head.bias, labels)) == pytest.approx(head.validation_loss, abs=1e-4)


def test_a_weighted_loss_moves_the_solution_towards_the_heavier_class() -> None:
    features, _ = drawn(200, seed=1)
    weighted = OneLabel(torch.tensor([10.0, 1.0, 1.0]))
    plain, heavy = (
        (features @ head.weight.T + head.bias).argmax(1).eq(0).sum() for head in (solved(0.1), solved(0.1, weighted))
    )
    assert heavy > plain


def test_a_feature_that_never_varies_gets_no_weight_and_does_no_harm() -> None:
    features, targets = drawn(100, seed=1)
    still = torch.cat([features, torch.full((100, 1), 7.0)], dim=1)
    head = solve_head(still, targets, validation=(still, targets), outputs=3, objective=OneLabel())
    assert torch.equal(head.weight[:, -1], torch.zeros(3))
    assert head.weight.isfinite().all()


def test_two_solutions_are_the_same_to_the_bit() -> None:
    first, second = solved(), solved()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


CLASSES_AND_SMOOTHING = OneLabel(torch.tensor([5.0, 1.0, 0.5]), label_smoothing=0.1)


@pytest.mark.parametrize(
    ("penalty", "goal"),
    [
        (None, OneLabel()),
        (0.01, OneLabel()),
        (0.01, CLASSES_AND_SMOOTHING),
        (0.01, OfRows(CLASSES_AND_SMOOTHING, torch.linspace(0.1, 3, 200))),
        # One whose parts do not add up is given all rows at once.
        (0.01, OfRows(AsItIs(CLASSES_AND_SMOOTHING), torch.linspace(0.1, 3, 200))),
    ],
)
def test_rows_in_a_file_have_the_head_of_rows_in_memory(
    penalty: float | None, goal: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_NUMBERS", 6 * 64)  # 64 rows of 6 features
    (features, targets), (held, labels) = drawn(200, seed=1), drawn(80, seed=2)

    def solved_on(of_train: Vectors, of_held: Vectors) -> SolvedHead:
        refit, held = Refit(OneLabel(), copies=2), (of_held, labels)
        return solve_head(of_train, targets, validation=held, outputs=3, objective=goal, penalty=penalty, refit=refit)

    plain, filed = (
        solved_on(features, held),
        solved_on(*(FiledVectors.written(iter([of]), 6) for of in (features, held))),
    )
    assert filed.penalty == plain.penalty
    assert filed.train_loss == pytest.approx(plain.train_loss, abs=1e-4)
    # Not bit for bit: sums over blocks end at another place within the tolerance of the gradient.
    ours, theirs = ((held @ head.weight.T + head.bias).softmax(1) for head in (filed, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        filed.validation_outputs.softmax(1), plain.validation_outputs.softmax(1), rtol=0, atol=1e-3
    )


def test_a_refit_is_the_optimum_of_all_rows_and_is_judged_before_it() -> None:
    (features, targets), held = drawn(200, seed=1), drawn(80, seed=2)
    plain, again = (
        solve_head(features, targets, validation=held, outputs=3, objective=OneLabel(), penalty=0.01, refit=refit)
        for refit in (None, Refit(OneLabel(), copies=2))
    )
    assert (plain.train_loss, plain.validation_loss) == (again.train_loss, again.validation_loss)
    assert torch.equal(plain.validation_outputs, again.validation_outputs)
    assert torch.allclose(plain.validation_outputs, held[0] @ plain.weight.T + plain.bias, atol=1e-3)
    everything, labels = torch.cat([features, held[0], held[0]]), torch.cat([targets, held[1], held[1]])
    # Scaled as the training rows are, so that the penalty means the same.
    spread = features.double().std(0, correction=0)
    scale = (spread * (spread**2).mean().sqrt()).sqrt()
    inputs = ((everything - features.double().mean(0)) / scale).numpy()
    reference = LogisticRegression(C=1 / (0.01 * len(labels)), tol=1e-10, max_iter=10_000).fit(inputs, labels.numpy())
    ours = (everything @ again.weight.T + again.bias).softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(inputs)).max() < 1e-3


def test_features_that_hardly_vary_count_little() -> None:
    random = torch.Generator().manual_seed(5)
    targets = torch.randint(2, (60,), generator=random)
    held_targets = torch.randint(2, (400,), generator=random)

    def told(labels: Tensor) -> Tensor:
        """One feature that tells the labels, and 200 of a hundredth of its spread that tell nothing."""
        telling = labels[:, None] + 0.5 * torch.randn(len(labels), 1, generator=random)
        return torch.cat([telling, 0.005 * torch.randn(len(labels), 200, generator=random)], dim=1)

    held = told(held_targets)
    head = solve_head(told(targets), targets, validation=(held, held_targets), outputs=2, objective=OneLabel())
    right = (held @ head.weight.T + head.bias).argmax(1).eq(held_targets).float().mean()
    best = ((held[:, 0] > 0.5) == held_targets.bool()).float().mean()
    assert right > best - 0.05
