"""CORAL gives features the statistics of another domain, as its paper writes it."""

import numpy as np
import torch
from scipy.linalg import fractional_matrix_power
from torch import Tensor

from graftline.training.domain.coral import alignment


def drawn(rows: int, width: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=random)
    return torch.randn(rows, width, generator=random) @ mixed + torch.randn(width, generator=random)


def test_the_map_is_that_of_the_paper_between_features_that_each_domain_scales() -> None:
    source, target = drawn(200, 6, seed=1), drawn(90, 6, seed=2)

    def scaled(rows: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        plain = rows.double().numpy()
        return (plain - plain.mean(0)) / plain.std(0), plain.mean(0), plain.std(0)

    (ours, _, _), (theirs, mean, spread) = scaled(source), scaled(target)
    whitened = ours @ fractional_matrix_power(np.cov(ours.T, bias=True) + np.eye(6), -0.5)
    coloured = whitened @ fractional_matrix_power(np.cov(theirs.T, bias=True) + np.eye(6), 0.5)
    expected = torch.tensor(coloured * spread + mean)
    # float32 holds seven digits.
    assert torch.allclose(alignment(source, target).of(source).double(), expected, atol=1e-4)


def test_a_domain_that_differs_by_the_scale_and_middle_of_each_feature_is_met_exactly() -> None:
    source = drawn(100, 5, seed=3)
    target = source * torch.tensor([2.0, 0.5, 1.0, 3.0, 10.0]) + torch.tensor([1.0, -2.0, 0.0, 5.0, 0.3])
    assert torch.allclose(alignment(source, target).of(source), target, atol=1e-4)
    assert torch.allclose(alignment(source, source).of(source), source, atol=1e-5)


def test_features_that_never_vary_and_fewer_rows_than_features_give_numbers() -> None:
    source, target = drawn(100, 30, seed=4), drawn(7, 30, seed=5)
    source[:, 3], target[:, 4] = 1.5, -2.5
    assert alignment(source, target).of(source).isfinite().all()
