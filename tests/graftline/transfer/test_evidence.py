"""LogME against the evidence itself: the density of the targets under a normal distribution, maximised numerically."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from graftline.evaluation.metrics import Floats
from graftline.transfer.evidence import log_evidence


def highest_evidence(features: Floats, target: Floats) -> float:
    """Targets are normal with covariance F F^T / alpha + I / beta, whatever LogME makes of that."""
    products = features @ features.T

    def negative(logs: Floats) -> float:
        alpha, beta = np.exp(logs)
        covariance = products / alpha + np.eye(len(target)) / beta
        return -float(multivariate_normal.logpdf(target, np.zeros(len(target)), covariance))

    starts = [(0.0, 0.0), (2.0, 2.0), (-2.0, 3.0)]
    found = [
        minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-8}) for start in starts
    ]
    return -min(one.fun for one in found) / len(target)


@pytest.mark.parametrize("width", [4, 60])
def test_logme_is_the_highest_evidence_per_row(width: int) -> None:
    random = np.random.default_rng(width)
    features = random.normal(size=(40, width))
    columns = np.stack([features[:, 0] + 0.5 * random.normal(size=40), (features[:, 1] > 0).astype(float)], axis=1)
    expected = np.mean([highest_evidence(features, column) for column in columns.T])
    assert log_evidence(features, columns) == pytest.approx(expected, abs=1e-5)


def test_features_that_tell_the_targets_have_more_evidence_than_noise() -> None:
    random = np.random.default_rng(0)
    told, noise = random.normal(size=(2, 200, 8))
    labels = (told[:, :1] + 0.3 * random.normal(size=(200, 1)) > 0).astype(float)
    assert log_evidence(told, labels) > log_evidence(noise, labels) + 0.05


def test_there_is_an_answer_where_features_repeat_never_vary_or_tell_the_targets_wholly() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(30, 3))
    repeated = np.concatenate([one, one, np.zeros((30, 2))], axis=1)
    assert np.isfinite(log_evidence(repeated, one[:, :1] * 2))
