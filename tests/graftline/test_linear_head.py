"""The solved head: the optimum that scikit-learn finds, for features of any scale."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from graftline.linear_head import PENALTIES, SolvedHead, solve_head
from graftline.objective import Number, SeveralLabels

loss_of = nn.functional.cross_entropy


def drawn(rows: int, *, seed: int, width: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Features far from standardised, and labels that depend on them with noise."""
    weights = torch.randn(width, classes, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(seed)
    plain = torch.randn(rows, width, generator=random)
    noise = torch.randn(rows, classes, generator=random)
    scales = torch.logspace(-2, 2, width)
    return plain * scales + 3 * scales, (plain @ weights + noise).argmax(1)


def solved(penalty: float | None = None, loss: Callable[[Tensor, Tensor], Tensor] = loss_of) -> SolvedHead:
    features, targets = drawn(200, seed=1)
    return solve_head(
        features, targets, validation=drawn(80, seed=2), outputs=3, loss_of=loss, validation_loss_of=loss_of,
        penalty=penalty,
    )  # fmt: skip


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_optimum_is_the_one_that_scikit_learn_finds(penalty: float) -> None:
    features, targets = drawn(200, seed=1)
    mean, spread = features.double().mean(0), features.double().std(0, correction=0)
    reference = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-10, max_iter=10_000)
    reference.fit(((features - mean) / spread).numpy(), targets.numpy())
    head = solved(penalty)
    ours = (features @ head.weight.T + head.bias).softmax(1).numpy()
    theirs = reference.predict_proba(((features - mean) / spread).numpy())
    assert np.abs(ours - theirs).max() < 1e-3


def test_for_numbers_the_optimum_is_scikit_learns_ridge_regression() -> None:
    features, _ = drawn(200, seed=1)
    targets = features[:, :1] * 3 + torch.randn(200, 1, generator=torch.Generator().manual_seed(4)) + 5
    mean, spread, objective = features.mean(0), features.std(0, correction=0), Number()
    head = solve_head(
        features, targets, validation=(features, targets), outputs=1, loss_of=objective.loss,
        validation_loss_of=objective.validation_loss, penalty=0.1,
    )  # fmt: skip
    # Scikit-learn's penalty is on the sum of the squares, ours on half of the weights' beside their mean.
    reference = Ridge(alpha=0.1 / 2 * len(features)).fit(((features - mean) / spread).numpy(), targets.numpy())
    theirs = reference.predict(((features - mean) / spread).numpy()).ravel()
    assert (features @ head.weight.T + head.bias)[:, 0].numpy() == pytest.approx(theirs, abs=1e-3)


def test_for_several_labels_each_has_the_optimum_of_its_own_logistic_regression() -> None:
    features, labels = drawn(200, seed=1)
    targets = torch.stack([labels == 0, labels > 0, labels == 2], dim=1).float()
    mean, spread, objective = features.double().mean(0), features.double().std(0, correction=0), SeveralLabels()
    head = solve_head(
        features, targets, validation=(features, targets), outputs=3, loss_of=objective.loss,
        validation_loss_of=objective.validation_loss, penalty=0.01,
    )  # fmt: skip
    ours = (features @ head.weight.T + head.bias).sigmoid().numpy()
    scaled = ((features - mean) / spread).numpy()
    for label in range(3):
        # The loss is a mean over three labels, so that the penalty counts three times as much for each.
        reference = LogisticRegression(C=1 / (3 * 0.01 * len(features)), tol=1e-10, max_iter=10_000)
        theirs = reference.fit(scaled, targets[:, label].numpy()).predict_proba(scaled)[:, 1]
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

    def weighted(logits: Tensor, labels: Tensor) -> Tensor:
        return loss_of(logits, labels, weight=torch.tensor([10.0, 1.0, 1.0]).to(logits))

    plain, heavy = (
        (features @ head.weight.T + head.bias).argmax(1).eq(0).sum() for head in (solved(0.1), solved(0.1, weighted))
    )
    assert heavy > plain


def test_a_feature_that_never_varies_gets_no_weight_and_does_no_harm() -> None:
    features, targets = drawn(100, seed=1)
    still = torch.cat([features, torch.full((100, 1), 7.0)], dim=1)
    head = solve_head(
        still, targets, validation=(still, targets), outputs=3, loss_of=loss_of, validation_loss_of=loss_of
    )
    assert torch.equal(head.weight[:, -1], torch.zeros(3))
    assert head.weight.isfinite().all()


def test_two_solutions_are_the_same_to_the_bit() -> None:
    first, second = solved(), solved()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
