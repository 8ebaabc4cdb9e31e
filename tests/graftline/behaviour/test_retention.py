"""What a model forgot: linear probes of its vectors are scikit-learn's, paired on rows that chose nothing."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor

from graftline.behaviour.probing import probe_answers
from graftline.behaviour.retention import Retention, retention
from graftline.data.splitting import Split
from graftline.evaluation.metrics import Floats
from graftline.models.classifier import Classifier
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.linear_head import PENALTIES
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model

pytestmark = pytest.mark.full

SIDES: Mapping[Split, int] = {"train": 200, "validation": 80, "test": 200}
Vectors = Mapping[Split, Tensor]


def drawn(*, noise: float = 1.0) -> tuple[Vectors, Vectors]:
    """Vectors in which three labels can be told apart, and those labels."""
    random = torch.Generator().manual_seed(0)
    middles = 2 * torch.randn(3, 6, generator=random)
    targets: dict[Split, Tensor] = {side: torch.randint(3, (rows,), generator=random) for side, rows in SIDES.items()}
    vectors: dict[Split, Tensor] = {
        side: middles[labels] + noise * torch.randn(len(labels), 6, generator=random)
        for side, labels in targets.items()
    }
    return vectors, targets


def by_scikit_learn(vectors: Vectors, targets: Vectors) -> Floats:
    """The best of the same penalties on the validation rows."""
    mean, spread = vectors["train"].mean(0), vectors["train"].std(0, correction=0)
    divisor = (spread * (spread**2).mean().sqrt()).sqrt()
    scaled = {side: ((rows - mean) / divisor).numpy() for side, rows in vectors.items()}
    rows = len(scaled["train"])
    fitted = [
        LogisticRegression(C=1 / (penalty * rows), tol=1e-8, max_iter=10_000).fit(scaled["train"], targets["train"])
        for penalty in PENALTIES
    ]
    best = min(fitted, key=lambda head: log_loss(targets["validation"], head.predict_proba(scaled["validation"])))
    answers: Floats = best.predict_proba(scaled["test"])
    return answers


def test_the_answers_are_those_of_scikit_learns_logistic_regression_with_the_best_penalty() -> None:
    vectors, targets = drawn(noise=2.0)
    ours, theirs = probe_answers(vectors, targets, labels=3), by_scikit_learn(vectors, targets)
    assert np.abs(ours - theirs).max() < 2e-3
    assert 0.5 < accuracy_score(targets["test"], ours.argmax(1)) < 1


def test_the_judged_rows_have_no_say_in_the_head_that_they_judge() -> None:
    vectors, targets = drawn()
    among_others = {**vectors, "test": torch.cat([vectors["test"], 100 * torch.randn(50, 6)])}
    alone = probe_answers(vectors, targets, labels=3)
    assert np.array_equal(probe_answers(among_others, targets, labels=3)[: SIDES["test"]], alone)


def compared(before: Floats, after: Floats, targets: Tensor, *, unchanged: bool = False) -> Retention:
    return retention(
        before, after, targets.numpy(), learned_from=280, unchanged=unchanged, resamples=500, seed=0
    )  # fmt: skip


def test_the_numbers_are_two_accuracies_and_their_difference_on_the_same_rows() -> None:
    vectors, targets = drawn(noise=2.0)
    before = probe_answers(vectors, targets, labels=3)
    after = probe_answers({side: rows[:, :2] for side, rows in vectors.items()}, targets, labels=3)
    seen = compared(before, after, targets["test"])
    right = [answers.argmax(1) == targets["test"].numpy() for answers in (before, after)]
    assert (seen.before.value, seen.after.value) == pytest.approx((right[0].mean(), right[1].mean()))
    assert seen.difference.value == pytest.approx(right[1].mean() - right[0].mean())
    assert seen.difference.low < seen.difference.value < seen.difference.high < 0
    assert (seen.gains.better, seen.gains.worse) == ((right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum())
    assert (seen.labels, seen.gains.rows, seen.gains.hits) == (3, 200, True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classifier]:
    """A tiny model that learned to tell good words from bad ones."""
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    model = tiny_classifier(folder)
    settings = AdaptationSettings(
        strategy="fine_tuning", epochs=6, batch_size=32, learning_rate=5e-3, head_learning_rate=1e-2, max_tokens=32,
        threads=1, device="cpu", refit_rows=0,
    )  # fmt: skip
    rows = {"train": tiny_rows(folder, 400), "validation": tiny_rows(folder, 60, seed=1)}
    Adaptation(
        model,
        rows,
        settings,
        objective_for,
        stores=lambda point: pytest.fail(f"{point} needs no store"),
        folder=folder / "work",
    ).run()
    return folder, model.eval()


def probed(folder: Path, model: Classifier) -> tuple[Floats, Tensor]:
    """What a linear head says of rows that the model never saw, and their labels."""
    rows = {side: tiny_rows(folder, count, seed=5 + place) for place, (side, count) in enumerate(SIDES.items())}
    with torch.no_grad():
        vectors: dict[Split, Tensor] = {
            side: torch.cat([model.features(**of_side.batch([row])) for row in range(len(of_side.encoded))])
            for side, of_side in rows.items()
        }
    targets: dict[Split, Tensor] = {side: of_side.targets for side, of_side in rows.items()}
    return probe_answers(vectors, targets, labels=2), targets["test"]


def test_a_backbone_whose_weights_were_permuted_forgot_and_an_untouched_one_forgot_exactly_nothing(
    trained: tuple[Path, Classifier],
) -> None:
    folder, model = trained
    before, targets = probed(folder, model)
    again, _ = probed(folder, model)
    untouched = compared(before, again, targets)
    assert (untouched.difference.value, untouched.difference.low, untouched.difference.high) == (0.0, 0.0, 0.0)
    assert (untouched.gains.better, untouched.gains.worse) == (0, 0)

    random = torch.Generator().manual_seed(0)
    learned = {name: weights.clone() for name, weights in model.backbone.state_dict().items()}
    with torch.no_grad():
        for weights in model.backbone.parameters():
            weights.copy_(weights.flatten()[torch.randperm(weights.numel(), generator=random)].view_as(weights))
    after, _ = probed(folder, model)
    model.backbone.load_state_dict(learned)
    permuted = compared(before, after, targets)
    assert permuted.before.value > 0.65
    assert permuted.difference.high < 0
