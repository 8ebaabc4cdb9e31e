"""A training that learns once more from all labelled rows, once the validation rows have chosen how long."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftline.frozen.rows import joined
from graftline.models.parts import HEAD
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.refitting import learns_again
from graftline.training.plan import Training
from graftline.training.validation_score import predict
from tests.graftline.training.test_strategies import SETTINGS, PowerCutError, Ran, adapted, base, name_of, ran
from tests.support.tiers import seldom
from tests.support.tiny_models import tiny_classifier, tiny_rows

__all__ = ["base"]
EPOCHS, BEST = 3, 2
FEW: dict[str, Any] = {"train_rows": 32, "epochs": EPOCHS}
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "fine_tuning"},
    {"strategy": "partial", "freeze_until": "2"},
    {"strategy": "partial", "freeze_until": "1", "augmentation": "none"},
    {"strategy": "lora"},
    {"strategy": "bias_only"},
    {"strategy": "norm_only"},
]


@pytest.fixture
def best_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has an epoch do better than all others, the first one being 1."""

    def settle(best: int) -> None:
        seen: list[int] = []

        def judged(_: Training) -> tuple[float, float]:
            seen.append(1)
            return (0.0, 1.0) if len(seen) == best else (9.0, 0.0)

        monkeypatch.setattr("graftline.training.loop.validate", judged)

    return settle


def from_all_at_once(base: Path, folder: Path, **chosen: Any) -> Ran:
    """As if all labelled rows were there to be learned from."""
    settings = AdaptationSettings(**SETTINGS | {"epochs": EPOCHS} | chosen)
    held = tiny_rows(base, 64, seed=1)
    rows = {"train": joined([tiny_rows(base, 32), held]), "validation": held}
    return adapted(tiny_classifier(base, seed=settings.seed, head=settings.head), rows, settings, folder)


def state(done: Ran) -> dict[str, Tensor]:
    return done.model.state_dict()


def same(first: Ran, second: Ran) -> bool:
    return all(torch.equal(tensor, state(second)[name]) for name, tensor in state(first).items())


@pytest.mark.parametrize("chosen", seldom(STRATEGIES, STRATEGIES[1], STRATEGIES[3]), ids=name_of)
def test_it_ends_as_a_training_of_all_rows_does_in_the_epoch_that_was_best(
    base: Path, tmp_path: Path, best_is: Callable[[int], None], chosen: dict[str, Any]
) -> None:
    best_is(BEST)
    done = ran(base, tmp_path / "again", **FEW, refit_rows=96, **chosen)
    best_is(BEST)
    at_once = from_all_at_once(base, tmp_path / "at once", **chosen)
    assert done.adapted.members == (BEST,)
    assert done.adapted.again_from == 96
    assert same(done, at_once)
    # Heard are the epochs that chose, of which there are no more.
    assert [epoch.number for epoch in done.epochs] == [1, 2, 3]
    assert any("learning again from all 96 rows, as long as was best: epoch 2" in said for said in done.said)


def test_thresholds_are_fitted_on_what_was_said_before_the_validation_rows_were_learned(
    base: Path, tmp_path: Path
) -> None:
    before = ran(base, tmp_path / "before", **FEW, strategy="fine_tuning")
    done = ran(base, tmp_path / "again", **FEW, strategy="fine_tuning", refit_rows=96)
    judged = done.adapted.validation_outputs
    assert judged is not None
    assert torch.equal(judged, predict(before.model, before.rows["validation"], batch_size=16))
    assert not torch.equal(judged, predict(done.model, done.rows["validation"], batch_size=16))


@pytest.mark.parametrize("best", [1, 2])
def test_a_solved_head_that_learns_again_has_the_penalty_that_was_chosen(
    base: Path, tmp_path: Path, best_is: Callable[[int], None], best: int
) -> None:
    best_is(best)
    # Nothing that fine-tuning learns can be seen, so the head is the one that it began with.
    still: dict[str, Any] = {"learning_rate": 1e-12, "head_learning_rate": 1e-12}
    done = ran(base, tmp_path / "again", **FEW, strategy="probe_then_fine_tune", refit_rows=96, **still)
    solved = ran(base, tmp_path / "solved", train_rows=32, strategy="feature_extraction")
    assert done.adapted.head_penalty == solved.adapted.head_penalty
    for name, tensor in state(done).items():
        assert torch.allclose(tensor, state(solved)[name], atol=1e-4), name
    assert any(name.startswith(HEAD) for name in state(done))


def test_a_solved_head_that_no_epoch_beats_learns_from_all_rows(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.training.loop.validate", lambda _: (99.0, 0.0))
    done = ran(base, tmp_path / "again", **FEW, strategy="probe_then_fine_tune", refit_rows=96)
    solved = ran(base, tmp_path / "solved", train_rows=32, strategy="feature_extraction")
    assert done.adapted.members == (1,)
    assert all(torch.allclose(tensor, state(solved)[name], atol=1e-4) for name, tensor in state(done).items())


@pytest.mark.parametrize("step", [5, 14])
def test_after_a_cut_it_goes_on_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    few: dict[str, Any] = {"train_rows": 32, "epochs": 4, "strategy": "fine_tuning", "refit_rows": 96}
    whole = ran(base, tmp_path / "whole", **few)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path / "cut", cut_at=step, **few)
    assert same(ran(base, tmp_path / "cut", **few), whole)


@pytest.mark.parametrize(
    ("chosen", "rows", "expected"),
    [
        ({}, 1000, True),
        ({}, 1001, False),
        ({"refit_rows": 0}, 2, False),
        ({"average": "greedy"}, 100, False),
        ({"runs": 2}, 100, False),
        ({"strategy": "contrastive"}, 100, False),
        ({"strategy": "feature_extraction"}, 100, False),
        ({"strategy": "auto"}, 100, False),
    ],
)
def test_few_rows_are_learned_from_again_where_one_epoch_was_chosen(
    chosen: dict[str, Any], rows: int, expected: bool
) -> None:
    assert learns_again(AdaptationSettings(**chosen), rows) is expected
