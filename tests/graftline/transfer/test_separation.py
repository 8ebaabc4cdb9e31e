"""The H-score against its definition, written out."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from graftline.evaluation.metrics import Floats, Integers
from graftline.transfer.separation import h_score, h_score_of_labels


def by_definition(features: Floats, classes: Integers) -> float:
    """Each row's class mean in its place, and the whole matrices."""
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[classes == label].mean(0) for label in classes])
    between = (1 - fitted.shrinkage_) * np.cov(means, rowvar=False, bias=True)
    return float(np.trace(np.linalg.inv(fitted.covariance_) @ between))


def rows(count: int = 120) -> tuple[Floats, Integers]:
    random = np.random.default_rng(1)
    classes = random.integers(3, size=count)
    return random.normal(size=(count, 6)) + np.eye(3, 6)[classes], classes


def test_the_h_score_is_the_trace_of_its_definition() -> None:
    features, classes = rows()
    assert h_score(features, classes) == pytest.approx(by_definition(features, classes))


def test_of_several_labels_it_is_the_mean_over_questions_of_two_classes() -> None:
    features, classes = rows()
    labels = np.eye(3, dtype=int)[classes]
    expected = np.mean([by_definition(features, column) for column in labels.T])
    never = np.zeros((len(labels), 1), dtype=int)
    assert h_score_of_labels(features, np.concatenate([labels, never], axis=1)) == pytest.approx(expected)


def test_it_does_not_change_with_the_scale_of_all_features_and_has_an_answer_for_one_that_never_varies() -> None:
    features, classes = rows()
    assert h_score(100 * features, classes) == pytest.approx(h_score(features, classes))
    assert np.isfinite(h_score(np.concatenate([features, np.ones((120, 1))], axis=1), classes))
