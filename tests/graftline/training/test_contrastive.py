"""Contrastive training: pairs share a label, the loss is the published one, and the store stays that of the base."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.contrastive import TEMPERATURE, Contrast, drawn_partners, paired, shared_labels
from graftline.training.linear_head import Refit, solve_head
from graftline.training.single_label import OneLabel
from tests.graftline.training.test_strategies import PowerCutError, Ran, ran, ran_on_pictures
from tests.graftline.training.test_strategies_by_task import ran as ran_for_task
from tests.support.tiny_models import tiny_classifier, write_tiny_model

CONTRASTIVE: dict[str, Any] = {"strategy": "contrastive", "train_rows": 32, "batch_size": 8, "learning_rate": 1e-3}
SEVERAL = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]).float()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def done(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(base, tmp_path_factory.mktemp("done"), **CONTRASTIVE)


def published_loss(vectors: Tensor, likeness: Tensor) -> float:
    """Equation 2 of arXiv 2004.11362, row by row, with each positive weighed by its likeness."""
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    losses = []
    for row in range(len(unit)):
        others = [other for other in range(len(unit)) if other != row]
        total = sum(math.exp(unit[row] @ unit[other] / TEMPERATURE) for other in others)
        weights = [float(likeness[row, other]) for other in others]
        chances = [math.log(math.exp(unit[row] @ unit[other] / TEMPERATURE) / total) for other in others]
        losses.append(-float(np.dot(weights, chances)) / sum(weights))
    return float(np.mean(losses))


@pytest.mark.parametrize("targets", [torch.tensor([0, 1, 1, 0, 2, 2]), SEVERAL], ids=["one label", "several labels"])
def test_the_loss_is_the_published_one(targets: Tensor) -> None:
    rows = FeatureRows(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), targets)
    pairs = paired(rows, seed=0)
    both = torch.cat([rows.features, rows.features[list(pairs.partners)]])
    of_both = torch.cat([targets, targets[list(pairs.partners)]])
    outputs = torch.cat([rows.features, rows.features[list(pairs.partners)]], 1)
    expected = published_loss(both, shared_labels(of_both))
    assert float(Contrast().loss(outputs, pairs.targets)) == pytest.approx(expected, rel=1e-4)
    assert float(Contrast().validation_loss(outputs, pairs.targets)) == pytest.approx(expected, rel=1e-4)
    weighed = paired(replace(rows, weights=torch.tensor([2.0] * len(targets))), seed=0)
    assert float(Contrast().loss(outputs, pairs.targets, weighed.weights)) == pytest.approx(2 * expected, rel=1e-4)


def test_rows_of_several_labels_are_alike_by_the_jaccard_index() -> None:
    one_at_a_time = [[jaccard_score(one, other, zero_division=1) for other in SEVERAL] for one in SEVERAL]
    assert shared_labels(SEVERAL).numpy() == pytest.approx(np.array(one_at_a_time))


@pytest.mark.parametrize("targets", [torch.tensor([0, 1, 1, 0, 1, 2]), SEVERAL], ids=["one label", "several labels"])
def test_partners_share_a_label_and_each_that_does_has_its_turn(targets: Tensor) -> None:
    drawn = torch.tensor([drawn_partners(targets, seed=1, epoch=epoch) for epoch in range(200)])
    alike = shared_labels(targets) > 0
    for row in range(len(targets)):
        others = {other for other in alike[row].nonzero()[:, 0].tolist() if other != row}
        assert set(drawn[:, row].tolist()) == (others or {row})
    assert drawn_partners(targets, seed=1, epoch=7) == drawn[7].tolist()


def test_the_least_loss_has_rows_of_one_label_together_and_others_apart() -> None:
    targets = torch.tensor([0, 1, 1, 0, 2, 2])
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([vectors], lr=0.1)
    partners = [3, 2, 1, 0, 5, 4]
    for _ in range(200):
        optimizer.zero_grad()
        loss = Contrast().loss(torch.cat([vectors, vectors[partners]], 1), torch.stack([targets, targets[partners]], 1))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unit = torch.nn.functional.normalize(vectors.detach(), dim=1)
    alike = targets[:, None] == targets
    assert float((unit @ unit.T)[alike].min()) > 0.99
    assert float((unit @ unit.T)[~alike].max()) < 0.5


def test_a_contrastive_training_repeats_itself_to_the_bit_and_tells_of_each_epoch(
    base: Path, done: Ran, tmp_path: Path
) -> None:
    again = ran(base, tmp_path, **CONTRASTIVE)
    assert (done.sha256, done.adapted) == (again.sha256, again.adapted)
    assert [said.split(",")[0] for said in done.said if said.startswith("contrast")] == [
        f"contrast: epoch {number}" for number in (1, 2, 3, 4)
    ]
    pairs = paired(done.rows["train"], seed=0)
    with torch.no_grad():
        before, after = (
            float(Contrast().loss(pairs.logits(model.eval(), range(32)), pairs.targets))
            for model in (tiny_classifier(base, seed=3), done.model)
        )
    assert after < before


def test_the_head_is_solved_on_what_the_trained_backbone_gives(done: Ran) -> None:
    with torch.no_grad():
        train, held = (
            FeatureRows(done.model.features(**of.batch(range(len(of.encoded)))), of.targets)
            for of in (done.rows["train"], done.rows["validation"])
        )
    solved = solve_head(
        train.features,
        train.targets,
        validation=(held.features, held.targets),
        outputs=2,
        objective=OneLabel(),
        penalty=done.adapted.head_penalty,
        refit=Refit(OneLabel()),
    )
    # Not bit for bit: these rows ran in one batch.
    torch.testing.assert_close(done.model.output_layer.weight.data, solved.weight, rtol=1e-2, atol=1e-3)


def test_what_stores_keep_is_of_the_base_model_whatever_was_trained_before(base: Path, tmp_path: Path) -> None:
    ran(base, tmp_path / "shared", **CONTRASTIVE)
    after, alone = (ran(base, tmp_path / name, strategy="feature_extraction") for name in ("shared", "alone"))
    assert after.sha256 == alone.sha256


def test_a_contrastive_training_goes_on_after_a_cut_and_ends_with_the_same_weights(
    base: Path, done: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path, 9, **CONTRASTIVE)
    resumed = ran(base, tmp_path, **CONTRASTIVE)
    assert (resumed.sha256, resumed.adapted) == (done.sha256, done.adapted)


def test_blocks_in_front_of_a_freeze_point_stay_and_run_once(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, freeze_until="2", **CONTRASTIVE)
    untouched = tiny_classifier(base, seed=3).state_dict()
    changed = {name for name, tensor in done.model.state_dict().items() if not torch.equal(tensor, untouched[name])}
    assert all(name.startswith(("head.", "backbone.encoder.layer.2.")) for name in changed)
    assert any(name.startswith("backbone.") for name in changed)
    assert any("ran once for 96 rows" in said for said in done.said)


def test_pictures_and_rows_of_several_labels_are_contrasted_too(base: Path, tmp_path: Path) -> None:
    pictures = ran_on_pictures(tmp_path / "pictures", strategy="contrastive", augmentation="light")
    assert math.isfinite(pictures.epochs[0].validation_loss)
    several = ran_for_task(base, tmp_path / "several", "multi_label", strategy="contrastive", epochs=1)
    assert several.lowest_loss < math.log(2)
