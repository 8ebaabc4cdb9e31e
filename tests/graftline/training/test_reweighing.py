"""Weights of rows: groups and labels become independent, and rows count in every training as their weights say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graftline.frozen.rows import InputRows, joined
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.linear_head import Refit, solve_head
from graftline.training.multi_label import SeveralLabels
from graftline.training.objective import Objective
from graftline.training.regression import Number
from graftline.training.reweighing import OfRows, balancing_weights
from graftline.training.single_label import OneLabel
from tests.graftline.training.test_linear_head import drawn, scaled
from tests.graftline.training.test_strategies import SETTINGS, adapted, name_of
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model

GROUPS = list("aaaaabbbcc")
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0, 2, 0])


def test_the_weight_of_a_row_is_how_frequent_its_group_and_label_would_be_if_independent() -> None:
    weights = balancing_weights(GROUPS, LABELS)
    pairs = list(zip(GROUPS, LABELS.tolist(), strict=True))
    for weight, (group, label) in zip(weights.tolist(), pairs, strict=True):
        together = pairs.count((group, label)) / 10
        assert weight == pytest.approx(GROUPS.count(group) / 10 * LABELS.tolist().count(label) / 10 / together)


def test_with_the_weights_every_label_is_as_frequent_in_each_group_as_in_all_rows() -> None:
    random = np.random.default_rng(0)
    groups = random.choice(["x", "y", "z"], 300).tolist()
    labels = torch.from_numpy((random.random(300) < np.where(np.array(groups) == "x", 0.9, 0.2)).astype(np.int64))
    weights = balancing_weights(groups, labels)
    assert float(weights.mean()) == pytest.approx(1)
    for group in "xyz":
        of_group = torch.tensor([one == group for one in groups])
        share = weights[of_group & (labels == 1)].sum() / weights[of_group].sum()
        assert float(share) == pytest.approx(float((labels == 1).float().mean()), abs=1e-6)


def test_of_several_labels_each_has_weights_of_its_own() -> None:
    several = torch.stack([(LABELS == 0).float(), (LABELS == 1).float()], dim=1)
    weights = balancing_weights(GROUPS, several)
    for place in range(2):
        assert torch.equal(weights[:, place], balancing_weights(GROUPS, several[:, place].long()))


@pytest.mark.parametrize(
    ("objective", "targets"),
    [
        (OneLabel(), torch.tensor([0, 2, 1])),
        (OneLabel(label_smoothing=0.2), torch.tensor([0, 2, 1])),
        (SeveralLabels(torch.tensor([2.0, 1.0, 3.0]), 0.1), torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])),
        (Number(), torch.tensor([[0.3], [1.0], [-2.0]])),
    ],
    ids=["one label", "smoothed", "several labels", "number"],
)
def test_a_row_that_weighs_two_counts_as_if_it_were_there_twice(objective: Objective, targets: Tensor) -> None:
    outputs = torch.randn(3, targets.shape[1] if targets.ndim > 1 else 3, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, 2.0, 0.0])
    if isinstance(objective, SeveralLabels):
        weights = weights[:, None].expand(3, 3)
    twice = [0, 1, 1]
    assert float(objective.loss(outputs, targets, weights)) == pytest.approx(
        float(objective.loss(outputs[twice], targets[twice]))
    )


def test_weights_of_classes_and_of_rows_multiply() -> None:
    outputs, targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 1])
    of_classes, of_rows = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.5, 1.5, 1.0, 2.0])
    each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    expected = (each * of_classes[targets] * of_rows).sum() / of_classes[targets].sum()
    assert float(OneLabel(of_classes).loss(outputs, targets, of_rows)) == pytest.approx(float(expected))


def test_a_solved_head_is_scikit_learns_with_the_weights_of_rows() -> None:
    features, targets = drawn(200, seed=1)
    weights = torch.rand(200, generator=torch.Generator().manual_seed(5)) * 2
    head = solve_head(
        features, targets, validation=drawn(80, seed=2), outputs=3, objective=OfRows(OneLabel(), weights), penalty=0.01
    )
    reference = LogisticRegression(C=1 / (0.01 * 200), tol=1e-10, max_iter=10_000)
    reference.fit(scaled(features).numpy(), targets.numpy(), sample_weight=weights.numpy())
    ours = (features @ head.weight.T + head.bias).softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(scaled(features).numpy())).max() < 1e-3


def test_a_head_that_learns_from_the_validation_rows_too_weighs_them() -> None:
    features, targets = drawn(200, seed=1)
    held, held_targets = drawn(80, seed=2)
    nothing = torch.cat([torch.ones(200), torch.zeros(80)])
    refits = [Refit(OfRows(OneLabel(), weights)) for weights in (nothing, torch.ones(280))]
    without, with_ = (
        solve_head(
            features,
            targets,
            validation=(held, held_targets),
            outputs=3,
            objective=OneLabel(),
            penalty=0.01 * scale,
            refit=refit,
        ).weight
        for refit, scale in zip(refits, (200 / 280, 1), strict=True)
    )
    alone = solve_head(
        features, targets, validation=(held, held_targets), outputs=3, objective=OneLabel(), penalty=0.01
    )
    # The optimum of one and the same problem, found from another start.
    assert without.numpy() == pytest.approx(alone.weight.numpy(), abs=2e-3)
    assert not torch.allclose(with_, alone.weight, atol=2e-2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "feature_extraction"},
        {"strategy": "feature_extraction", "head": "mlp"},
        {"strategy": "partial", "freeze_until": "1"},
        {"strategy": "fine_tuning"},
    ],
    ids=name_of,
)
def test_the_labels_of_rows_without_weight_change_no_bit_however_the_model_learns(
    base: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    settings = AdaptationSettings(**SETTINGS | {"epochs": 1} | chosen)
    right, doubtful = tiny_rows(base, 24), tiny_rows(base, 24, seed=2)
    wrong = replace(doubtful, targets=1 - doubtful.targets)

    def weights_after(place: int, other: InputRows, weight: float) -> str:
        parts = [replace(right, weights=torch.ones(24)), replace(other, weights=torch.full((24,), weight))]
        rows = {"train": joined(parts), "validation": replace(tiny_rows(base, 16, seed=1), weights=torch.ones(16))}
        model = tiny_classifier(base, seed=3, head=settings.head)
        return adapted(model, rows, settings, tmp_path / str(place)).sha256

    assert weights_after(0, doubtful, 0.0) == weights_after(1, wrong, 0.0)
    assert weights_after(2, doubtful, 1.0) != weights_after(3, wrong, 1.0)
