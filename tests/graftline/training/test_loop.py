"""Training: it learns, it repeats itself to the byte, and a kill costs nothing but time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from graftline.digests import tensors_sha256
from graftline.errors import GraftlineError, Stopped
from graftline.frozen.freezing import freeze
from graftline.frozen.rows import InputRows
from graftline.models.parts import HEAD
from graftline.settings.adaptation import Strategy
from graftline.training import checkpoints, loop
from graftline.training.averaging import EPOCHS, MOST_KEPT_EPOCHS, average_greedily, epoch_path, keep_epoch
from graftline.training.checkpoints import TENSORS
from graftline.training.loop import train
from graftline.training.objective import Objective
from graftline.training.optimizer import optimizer_for, set_learning_rates
from graftline.training.plan import Plan, Training
from graftline.training.progress import Epoch, Listener, Progress, best_epoch
from graftline.training.single_label import OneLabel, balanced_weights
from graftline.training.validation_score import predict, validate
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model

PLAN = Plan(
    epochs=3,
    batch_size=4,
    learning_rate=2e-3,
    head_learning_rate=1e-2,
    weight_decay=0.01,
    warmup_share=0.1,
    precision="float32",
    patience=0,
    seed=5,
)
ROWS = 10
STEPS_PER_EPOCH = 3


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "base", num_hidden_layers=2)


@dataclass(frozen=True)
class Trained:
    epochs: list[Epoch]
    sha256: str
    training: Training

    @property
    def model(self) -> nn.Module:
        return self.training.model


class PowerCutError(Exception):
    """Stands in for whatever ends a process in the middle of a training."""


def trained(
    base: Path,
    checkpoints: Path,
    plan: Plan = PLAN,
    *,
    strategy: Strategy = "fine_tuning",
    cut_at_step: int | None = None,
    rows: InputRows | None = None,
    objective: Objective | None = None,
) -> Trained:
    def report(progress: Progress) -> None:
        if progress.step == cut_at_step:
            raise PowerCutError

    chosen = training_of(base, plan, strategy=strategy, rows=rows, objective=objective)
    epochs = train(replace(chosen, listener=Listener(report)), checkpoints)
    return Trained(epochs, tensors_sha256(dict(chosen.model.state_dict())), chosen)


def training_of(
    base: Path,
    plan: Plan = PLAN,
    *,
    strategy: Strategy = "fine_tuning",
    rows: InputRows | None = None,
    objective: Objective | None = None,
) -> Training:
    model = tiny_classifier(base, seed=plan.seed)
    chosen, validation = rows or tiny_rows(base, ROWS), tiny_rows(base, 6, seed=1)
    point = freeze(model, strategy, None, example=chosen.batch([0, 1]))
    return Training(model, point, chosen, validation, objective or OneLabel(), plan)


def cut_off(base: Path, checkpoints: Path, step: int, *, strategy: Strategy = "fine_tuning") -> None:
    with pytest.raises(PowerCutError):
        trained(base, checkpoints, strategy=strategy, cut_at_step=step)


def test_a_tiny_model_overfits_eight_rows(base: Path, tmp_path: Path) -> None:
    rows = tiny_rows(base, 8)
    result = trained(base, tmp_path / "run", replace(PLAN, epochs=40, learning_rate=5e-3), rows=rows)
    assert result.epochs[-1].train_loss < 0.05
    assert torch.equal(predict(result.model, rows, batch_size=8).argmax(1), rows.targets)


def test_two_seeded_runs_give_the_same_bytes(base: Path, tmp_path: Path) -> None:
    first, second = (trained(base, tmp_path / name) for name in ("first", "second"))
    assert (first.sha256, first.epochs) == (second.sha256, second.epochs)


def test_another_seed_gives_other_bytes(base: Path, tmp_path: Path) -> None:
    first, second = (trained(base, tmp_path / str(seed), replace(PLAN, seed=seed)) for seed in (5, 6))
    assert first.sha256 != second.sha256


def test_the_random_state_in_front_of_a_training_does_not_matter(base: Path, tmp_path: Path) -> None:
    first = trained(base, tmp_path / "first")
    torch.rand(5)
    assert trained(base, tmp_path / "second").sha256 == first.sha256


@pytest.mark.parametrize("strategy", ["fine_tuning", "feature_extraction"])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 7, 9])
def test_a_training_cut_off_anywhere_ends_with_the_weights_of_an_uninterrupted_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, strategy: Strategy
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = trained(base, tmp_path / "whole", strategy=strategy)
    cut_off(base, tmp_path / "cut", step, strategy=strategy)
    resumed = trained(base, tmp_path / "cut", strategy=strategy)
    assert (resumed.sha256, resumed.epochs) == (whole.sha256, whole.epochs)


def test_a_training_cut_off_in_an_epoch_learns_from_each_of_its_rows_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps, plain_step = list[list[int]](), loop.training_step

    def noted(training: Training, group: Sequence[Sequence[int]], **options: Any) -> float:
        steps.append([row for batch in group for row in batch])
        return plain_step(training, group, **options)

    monkeypatch.setattr(loop, "training_step", noted)
    cut_off(base, tmp_path / "cut", STEPS_PER_EPOCH + 2)
    # The report of the last step is what was cut off, in front of its checkpoint.
    learned = steps[: STEPS_PER_EPOCH + 1]
    steps.clear()
    trained(base, tmp_path / "cut")
    together = [*learned, *steps]
    for first in range(0, 3 * STEPS_PER_EPOCH, STEPS_PER_EPOCH):
        assert sorted(row for step in together[first : first + STEPS_PER_EPOCH] for row in step) == list(range(ROWS))
    assert len(together) == 3 * STEPS_PER_EPOCH


def test_a_resumed_training_does_not_start_over(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    cut_off(base, tmp_path / "cut", 5)
    with pytest.raises(PowerCutError):
        # Step 5 was never saved: its report is what was cut off. Step 4 was.
        trained(base, tmp_path / "cut", cut_at_step=5)
    trained(base, tmp_path / "cut", cut_at_step=4)


def test_without_a_checkpoint_inside_of_an_epoch_it_goes_on_from_the_epochs_end(base: Path, tmp_path: Path) -> None:
    whole = trained(base, tmp_path / "whole")
    cut_off(base, tmp_path / "cut", STEPS_PER_EPOCH + 2)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [f"step-{STEPS_PER_EPOCH:09d}"]
    assert trained(base, tmp_path / "cut").sha256 == whole.sha256


def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_of_the_step_it_has_taken(
    base: Path, tmp_path: Path
) -> None:
    def ask_at_step_5(progress: Progress) -> None:
        if progress.step == 5:
            raise Stopped(signal.SIGTERM)

    whole = trained(base, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(replace(training_of(base), listener=Listener(ask_at_step_5)), tmp_path / "stopped")
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir())[-1] == "step-000000005"
    assert trained(base, tmp_path / "stopped").sha256 == whole.sha256


def test_a_training_cut_off_twice_ends_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = trained(base, tmp_path / "whole")
    for step in (2, 8):
        cut_off(base, tmp_path / "cut", step)
    assert trained(base, tmp_path / "cut").sha256 == whole.sha256


def test_a_truncated_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = trained(base, tmp_path / "whole")
    cut_off(base, tmp_path / "cut", 6)
    newest = sorted((tmp_path / "cut").iterdir())[-1] / TENSORS
    newest.write_bytes(newest.read_bytes()[:-100])
    assert trained(base, tmp_path / "cut").sha256 == whole.sha256


def test_epochs_that_pass_quickly_do_not_all_end_with_a_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHEAP_SHARE", 0.0)
    whole = trained(base, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == [f"step-{STEPS_PER_EPOCH:09d}"]
    again = trained(base, tmp_path / "run")
    assert (again.sha256, again.epochs) == (whole.sha256, whole.epochs)


def test_a_finished_training_that_is_called_again_takes_no_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    first = trained(base, tmp_path / "run")
    again = trained(base, tmp_path / "run", cut_at_step=STEPS_PER_EPOCH * PLAN.epochs)
    assert (again.sha256, again.epochs) == (first.sha256, first.epochs)


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)
from graftline.training import loop
from tests.graftline.training import test_loop as here

loop.CHECKPOINT_SECONDS = 0.0
base, checkpoints, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
save = loop._save

def save_and_die(training, state, *, optimizer, folder):
    if state.step == step:
        # In the middle of writing: the checkpoint's folder is there, under the name of an unfinished one.
        (folder / ".partial").mkdir(parents=True, exist_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
    save(training, state, optimizer=optimizer, folder=folder)

loop._save = save_and_die
here.trained(base, checkpoints)
"""


@pytest.mark.full
def test_a_killed_process_is_resumed_by_another_with_the_same_weights(base: Path, tmp_path: Path) -> None:
    whole = trained(base, tmp_path / "whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(base), str(tmp_path / "killed"), "5"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "killed").iterdir())[-1] == "step-000000004"
    assert trained(base, tmp_path / "killed").sha256 == whole.sha256


def test_the_model_ends_with_the_weights_of_its_best_epoch(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure_and_right = nn.functional.one_hot(tiny_rows(base, 6, seed=1).targets).float()
    at_epochs_end: list[str] = []

    def scripted(model: nn.Module, *_: object, **__: object) -> Tensor:
        at_epochs_end.append(tensors_sha256(dict(model.state_dict())))
        return sure_and_right * (1.0, 3.0, 2.0)[len(at_epochs_end) - 1]

    monkeypatch.setattr("graftline.training.validation_score.predict", scripted)
    result = trained(base, tmp_path / "run")
    assert len(set(at_epochs_end)) == 3
    assert (result.sha256, result.model.training) == (at_epochs_end[1], False)


def epoch(number: int, accuracy: float, loss: float) -> Epoch:
    return Epoch(number, 0.0, loss, accuracy)


def test_of_equally_accurate_epochs_the_one_with_the_lower_loss_is_best() -> None:
    assert best_epoch([epoch(1, 0.8, 0.5), epoch(2, 0.9, 0.6), epoch(3, 0.9, 0.4)]).number == 3


def test_of_equal_epochs_the_earliest_is_best() -> None:
    assert best_epoch([epoch(1, 0.9, 0.5), epoch(2, 0.9, 0.5)]).number == 1


def test_patience_stops_after_that_many_epochs_without_improvement(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, epochs=9, patience=2)
    monkeypatch.setattr("graftline.training.validation_score.predict", lambda *_, **__: torch.zeros(6, 2))
    assert len(trained(base, tmp_path / "run", plan).epochs) == 3


def test_without_patience_all_epochs_are_trained(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftline.training.validation_score.predict", lambda *_, **__: torch.zeros(6, 2))
    assert len(trained(base, tmp_path / "run").epochs) == PLAN.epochs


@given(st.lists(st.integers(0, 4), min_size=5, max_size=50).map(lambda drawn: [0, 1, 2, 3, 4, *drawn]))
def test_balanced_weights_are_those_of_scikit_learn(targets: list[int]) -> None:
    expected = compute_class_weight("balanced", classes=np.arange(5), y=np.array(targets))
    assert balanced_weights(torch.tensor(targets), 5).numpy() == pytest.approx(expected, rel=1e-6)


def test_a_class_without_rows_has_a_finite_weight() -> None:
    assert balanced_weights(torch.tensor([0, 0, 1]), 3).isfinite().all()


def test_balanced_weights_change_what_is_learned(base: Path, tmp_path: Path) -> None:
    plain = trained(base, tmp_path / "plain")
    assert trained(base, tmp_path / "weighted", objective=OneLabel(torch.tensor([1.0, 9.0]))).sha256 != plain.sha256


@given(steps=st.integers(2, 60), warmup_share=st.floats(0, 0.9))
def test_learning_rates_are_those_of_transformers_but_warmed_up_one_step_earlier(
    steps: int, warmup_share: float
) -> None:
    # transformers' first step has the rate 0 and moves nothing; ours starts at the second value. From the end of the
    # warm-up on both are equal.
    plan = replace(PLAN, warmup_share=warmup_share, learning_rate=0.5, head_learning_rate=0.25)
    warmup = max(1, round(warmup_share * steps))
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.5, "highest": 0.5}], lr=0.5)
    reference = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    theirs, schedule = [], get_linear_schedule_with_warmup(reference, warmup, steps)
    for _ in range(steps):
        theirs.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    ours = []
    for step in range(steps):
        set_learning_rates(optimizer, plan, step, steps)
        ours.append(optimizer.param_groups[0]["lr"])
    assert ours[:warmup] == pytest.approx([*theirs[1:warmup], 0.5])
    assert ours[warmup:] == pytest.approx(theirs[warmup:])


def test_head_and_backbone_have_their_own_rates_and_only_matrices_decay(base: Path) -> None:
    model = tiny_classifier(base)
    groups = optimizer_for(model, replace(PLAN, weight_decay=0.3), depths={}).param_groups
    found = {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    assert found == {
        id(parameter): (1e-2 if name.startswith("head.") else 2e-3, 0.3 if parameter.ndim > 1 else 0.0)
        for name, parameter in model.named_parameters()
    }


def test_bfloat16_runs_and_stays_near_float32(base: Path, tmp_path: Path) -> None:
    exact, coarse = trained(base, tmp_path / "a"), trained(base, tmp_path / "b", replace(PLAN, precision="bfloat16"))
    losses = [[epoch.train_loss for epoch in result.epochs] for result in (exact, coarse)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert exact.sha256 != coarse.sha256
    assert {parameter.dtype for parameter in coarse.model.parameters()} == {torch.float32}


def test_prediction_does_not_depend_on_the_batch_size(base: Path) -> None:
    model, rows = tiny_classifier(base), tiny_rows(base, 9)
    assert torch.allclose(predict(model, rows, batch_size=2), predict(model, rows, batch_size=9), atol=1e-5)


def test_a_diverged_training_is_an_error_not_a_model(base: Path, tmp_path: Path) -> None:
    with pytest.raises(GraftlineError, match=r"the training diverged: .* lower adaptation\.learning_rate"):
        trained(base, tmp_path / "run", objective=OneLabel(torch.tensor([float("nan"), 1.0])))
    assert not (tmp_path / "run").exists()


class Unbounded(OneLabel):
    """Judges the validation rows with what is no number."""

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().validation_loss(outputs, targets) * torch.inf


def test_a_validation_loss_that_is_no_number_is_an_error_not_an_epoch(base: Path, tmp_path: Path) -> None:
    expected = r"the loss of 6 validation rows is inf, expected a finite number; lower adaptation\.learning_rate"
    with pytest.raises(GraftlineError, match=expected):
        trained(base, tmp_path / "run", objective=Unbounded())
    assert not (tmp_path / "run").exists()


def test_a_gradient_that_is_no_number_is_an_error_and_moves_no_weight(base: Path) -> None:
    training = training_of(base, rows=tiny_rows(base, 4))
    bias = training.model.get_parameter("head.1.bias")
    bias.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[no-untyped-call]
    before = tensors_sha256(dict(training.model.state_dict()))
    optimizer = optimizer_for(training.model, PLAN, depths={})
    expected = (
        r"the norm of the gradient of 4 rows is (nan|inf), expected a finite number; lower adaptation\.learning_rate"
    )
    with pytest.raises(GraftlineError, match=expected):
        loop.training_step(training, [[0, 1], [2, 3]], optimizer=optimizer)
    assert tensors_sha256(dict(training.model.state_dict())) == before


def test_progress_counts_every_step_once(base: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train(replace(training_of(base), listener=Listener(seen.append)), tmp_path / "run")
    assert [progress.step for progress in seen] == list(range(1, STEPS_PER_EPOCH * PLAN.epochs + 1))
    assert [progress.epoch for progress in seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.full
def test_label_smoothing_bounds_the_loss_by_the_entropy_of_the_smoothed_labels(base: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=40)
    smoothed = trained(base, tmp_path / "smooth", plan, objective=OneLabel(None, 0.3)).epochs[-1].train_loss
    sharp = trained(base, tmp_path / "sharp", plan).epochs[-1].train_loss
    # Of two classes the right one is asked for with 0.85, the wrong one with 0.15.
    entropy = -(0.85 * np.log(0.85) + 0.15 * np.log(0.15))
    assert sharp < entropy <= smoothed


def groups_of(model: nn.Module, plan: Plan, depths: dict[str, int]) -> dict[str, float]:
    """The highest learning rate of each parameter."""
    rates = {
        id(parameter): group["highest"]
        for group in optimizer_for(model, plan, depths=depths).param_groups
        for parameter in group["params"]
    }
    return {name: rates[id(parameter)] for name, parameter in model.named_parameters()}


def test_layer_decay_slows_each_block_by_the_same_factor_and_never_the_head(base: Path) -> None:
    model = tiny_classifier(base)
    point = freeze(model, "fine_tuning", None, example=tiny_rows(base, 2).batch([0, 1]))
    rates = groups_of(model, replace(PLAN, layer_decay=0.5), dict(point.depths))
    assert {rate for name, rate in rates.items() if ".layer.1." in name} == {2e-3}
    assert {rate for name, rate in rates.items() if ".layer.0." in name} == {1e-3}
    assert {rate for name, rate in rates.items() if "embeddings" in name} == {5e-4}
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {1e-2}


def test_the_cosine_schedule_rises_to_the_highest_rate_and_falls_to_zero() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 1.0, "highest": 1.0}])
    seen = []
    for step in range(100):
        set_learning_rates(optimizer, replace(PLAN, schedule="cosine"), step, 100)
        seen.append(optimizer.param_groups[0]["lr"])
    # From step 10 on the rate is (1 + cos(pi * t)) / 2 of the share t of what comes after the warm-up.
    assert seen[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert seen[10:] == pytest.approx((1 + np.cos(np.pi * np.arange(90) / 90)) / 2)


def test_accumulated_batches_make_the_step_of_one_large_batch(base: Path, tmp_path: Path) -> None:
    # Without dropout, and with one pool of rows, two batches of 4 hold what one of 8 holds.
    still = write_tiny_model(
        tmp_path / "still", num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    trainings = [training_of(still, rows=tiny_rows(still, 8)) for _ in range(2)]
    for training, group in zip(trainings, ([[0, 1, 2], [3, 4, 5, 6, 7]], [list(range(8))]), strict=True):
        training.model.get_submodule(HEAD)[0] = nn.Identity()  # type: ignore[operator]
        loop.training_step(training, group, optimizer=torch.optim.SGD(training.model.parameters(), lr=0.1))
    for one, other in zip(*(training.model.parameters() for training in trainings), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_last_group_of_an_epoch_may_be_smaller_and_no_row_is_left_out(base: Path) -> None:
    groups = loop.batch_groups(tiny_rows(base, ROWS), replace(PLAN, accumulation=2), epoch=0)
    assert [len(group) for group in groups] == [2, 1]
    assert sorted(row for group in groups for batch in group for row in batch) == list(range(ROWS))


def test_l2_sp_keeps_the_weights_near_where_they_started(base: Path, tmp_path: Path) -> None:
    start = dict(tiny_classifier(base, seed=PLAN.seed).named_parameters())

    def distance(strength: float) -> float:
        result = trained(base, tmp_path / str(strength), replace(PLAN, l2_sp=strength, weight_decay=0.0))
        ended = dict(result.model.named_parameters())
        return sum(float((ended[name] - start[name]).detach().square().sum()) for name in start if name[:5] != "head.")

    assert distance(10.0) < distance(0.1) < distance(0.0)


def test_l2_sp_pulls_a_resumed_training_towards_where_the_interrupted_one_started(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    plan = replace(PLAN, l2_sp=1.0)
    whole = trained(base, tmp_path / "whole", plan)
    with pytest.raises(PowerCutError):
        trained(base, tmp_path / "cut", plan, cut_at_step=5)
    resumed = trained(base, tmp_path / "cut", plan)
    assert (resumed.sha256, resumed.epochs) == (whole.sha256, whole.epochs)


def test_l2_sp_adds_the_gradient_of_half_the_squared_distance() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([0.5, 0.5])
    loop._pull_towards({"weight": torch.tensor([0.0, 3.0])}, {"weight": weight}, 0.1)
    assert torch.allclose(weight.grad, torch.tensor([0.6, 0.4]))


def test_a_resumed_training_refuses_what_froze_other_parameters(base: Path, tmp_path: Path) -> None:
    cut_off(base, tmp_path / "cut", STEPS_PER_EPOCH + 2)
    with pytest.raises(GraftlineError, match="froze other parameters"):
        trained(base, tmp_path / "cut", strategy="feature_extraction")


def test_greedy_averaging_takes_the_mean_of_epochs_that_do_better_together(base: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=6, keep_epochs=True)
    result = trained(base, tmp_path / "run", plan)
    kept = {path.name for path in (tmp_path / "run" / EPOCHS).iterdir()}
    assert len(kept) == MOST_KEPT_EPOCHS
    members = average_greedily(result.training, result.epochs, folder=tmp_path / "run")
    assert members[0] == best_epoch(result.epochs).number
    weights = [load_file(epoch_path(tmp_path / "run" / EPOCHS, number)) for number in members]
    for name, tensor in result.model.named_parameters():
        mean = torch.stack([epoch[name] for epoch in weights]).mean(0)
        assert torch.allclose(tensor, mean, atol=1e-6), name
    best = best_epoch(result.epochs)
    loss, accuracy = validate(result.training)
    assert (-accuracy, loss) <= (-best.validation_score, best.validation_loss)


def test_an_epoch_that_harms_the_mean_stays_out(base: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=3, keep_epochs=True)
    result = trained(base, tmp_path / "run", plan)
    best = best_epoch(result.epochs)
    for epoch in result.epochs:
        if epoch is not best:
            path = epoch_path(tmp_path / "run" / EPOCHS, epoch.number)
            save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(path).items()}, path)
    before = tensors_sha256(dict(result.model.state_dict()))
    members = average_greedily(result.training, result.epochs, folder=tmp_path / "run")
    assert members == [best.number]
    assert tensors_sha256(dict(result.model.state_dict())) == before


def test_an_epochs_weights_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = epoch_path(tmp_path, 1), list[tuple[int, bool]]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, path.exists())))
    keep_epoch({"weight": torch.zeros(2)}, [epoch(1, 0.5, 0.5)], folder=tmp_path)
    assert synced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), Path.unlink], ids=["emptied", "removed"])
def test_an_epoch_that_cannot_be_read_is_an_error_not_another_mean(
    base: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    plan, folder = replace(PLAN, keep_epochs=True), tmp_path / "run"
    result = trained(base, folder, plan)
    damage(epoch_path(folder / EPOCHS, 2))
    with pytest.raises(
        GraftlineError, match=rf"epoch-0002.*: the weights of epoch 2 cannot .* delete {folder} to train"
    ):
        average_greedily(result.training, result.epochs, folder=folder)
