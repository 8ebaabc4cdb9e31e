"""Training a model behind its freeze point: seeded, resumable, with the best epoch kept."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from graftline.compute.device import CPU, device_of, moved
from graftline.compute.embedding_gradients import recycle_gradients
from graftline.compute.fast_training import fast_training
from graftline.compute.precision import autocast
from graftline.errors import GraftlineError, Stopped
from graftline.frozen.freezing import learned, statistics, train_mode, trainable
from graftline.models.batching import Groups, shuffled_batches
from graftline.models.parts import HEAD
from graftline.training.averaging import EPOCHS, copied, keep_epoch
from graftline.training.checkpoints import Pace, newest_checkpoint, save_checkpoint
from graftline.training.optimizer import optimizer_for, set_learning_rates
from graftline.training.plan import Plan, Rows, Training
from graftline.training.progress import DivergedError, Epoch, Progress, best_epoch
from graftline.training.validation_score import validate

# A kill costs at most this much work.
CHECKPOINT_SECONDS = 60.0
# The value that BERT, RoBERTa and most fine-tuning recipes clip at.
MAX_GRADIENT_NORM = 1.0
# Names of the states of random generators in a checkpoint.
RANDOM, OF_GPU = "random", "random of the gpu"


@dataclass
class _State:
    """How far a training is."""

    step: int = 0
    loss_sum: float = 0.0
    """Of this epoch's steps."""
    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    """The weights by the end of the best epoch, as far as they learn."""


@dataclass(frozen=True)
class _Clock:
    """Measures how fast the steps are that follow the `first` one."""

    first: int
    began: float = field(default_factory=time.monotonic)

    def steps_per_second(self, step: int) -> float:
        return (step - self.first) / (time.monotonic() - self.began)


def train(training: Training, folder: Path, *, epochs_before: int = 0) -> list[Epoch]:
    """Train the model in place and leave it with the weights of its best epoch (highest score, then lowest loss).

    A plan that names the last epoch leaves it with those.

    Checkpoints go to `folder`; a training that finds one there goes on from it and ends with the same weights. One
    that its listener stops leaves one. The views of the rows go on from those that `epochs_before` this training have
    shown. Of processes that train together each calls it with the same things but its place; the first one writes.
    """
    model, point, plan, together = training.model, training.point, training.plan, training.together
    optimizer = optimizer_for(model, plan, depths=point.depths)
    origin = _origin(training) if plan.l2_sp else {}
    torch.manual_seed(plan.seed)
    state = _resumed(training, folder, optimizer=optimizer)
    together.require_alike(state.step, learned(model, point))
    save = partial(_save, training, state, optimizer=optimizer, folder=folder)
    clock, pace = _Clock(state.step), Pace(CHECKPOINT_SECONDS)
    ends = plan.last_epoch or plan.epochs
    with fast_training(device_of(model)):
        while not _is_done(state.epochs, plan):
            epoch = len(state.epochs)
            train_mode(model, point)
            seen = replace(training, rows=training.rows.in_epoch(epochs_before + epoch))
            groups = batch_groups(seen.rows, plan, epoch=epoch)
            for place in range(state.step - epoch * len(groups), len(groups)):
                group = groups[place]
                set_learning_rates(optimizer, plan, state.step, len(groups) * plan.epochs)
                together.seed(plan.seed, state.step)
                loss = training_step(seen, group, optimizer=optimizer, origin=origin)
                state.step, state.loss_sum = state.step + 1, state.loss_sum + loss
                speed = clock.steps_per_second(state.step) * plan.batch_size * plan.accumulation
                try:
                    training.listener.progress(Progress(epoch + 1, state.step, len(groups) * ends, loss, speed))
                except Stopped:
                    pace.write(save)
                    raise
                if pace.is_due and together.leads:
                    pace.write(save)
            _finish_epoch(training, state, steps=len(groups))
            if plan.keep_epochs and together.leads:
                keep_epoch(learned(model, point), state.epochs, folder=folder / EPOCHS)
            training.listener.finished_epoch(state.epochs[-1])
            if together.leads and (pace.is_due or pace.is_cheap):
                pace.write(save)
    model.load_state_dict(state.best, strict=False)
    model.eval()
    return state.epochs


def batch_groups(rows: Rows, plan: Plan, epoch: int) -> Groups:
    """The batches of one epoch, in groups that make one step each."""
    return Groups(shuffled_batches(rows.lengths, plan.batch_size, seed=plan.seed, epoch=epoch), plan.accumulation)


def training_step(
    training: Training,
    group: Sequence[Sequence[int]],
    *,
    optimizer: torch.optim.Optimizer,
    origin: Mapping[str, Tensor] | None = None,
) -> float:
    """One step on the mean loss of all rows of the group, pulled towards `origin`. Returns: that loss."""
    model, rows, plan, together = training.model, training.rows, training.plan, training.together
    total, sum_of_losses = sum(len(batch) for batch in group), 0.0
    for batch in filter(None, map(together.share, group)):
        with autocast(plan.precision, device_of(model)):
            logits = rows.logits(model, batch)
        targets = moved(rows.targets[list(batch)], logits.device)
        weights = None if rows.weights is None else moved(rows.weights[list(batch)], logits.device)
        loss = training.objective.loss(logits.float(), targets, weights) * (len(batch) / total)
        if not torch.isfinite(loss) and together.count == 1:
            raise _diverged(f"the loss of a batch of {len(batch)} rows", float(loss.detach()))
        with _still_statistics(model) if plan.recomputed else nullcontext():
            loss.backward()  # type: ignore[no-untyped-call]
        sum_of_losses += float(loss.detach())
    learning = trainable(model)
    sum_of_losses = together.add_up(list(learning.values()), sum_of_losses)
    if not math.isfinite(sum_of_losses):
        raise _diverged(f"the loss of {total} rows", sum_of_losses)
    together.agree(model)
    if origin:
        _pull_towards(origin, learning, plan.l2_sp)
    norm = nn.utils.clip_grad_norm_(learning.values(), MAX_GRADIENT_NORM)
    if not torch.isfinite(norm):
        raise _diverged(f"the norm of the gradient of {total} rows", float(norm))
    optimizer.step()
    # The pull, a tied output layer and other processes' rows reach every row of a table.
    recycle_gradients(everywhere=bool(origin) or plan.tied_embeddings or together.count > 1)
    optimizer.zero_grad(set_to_none=True)
    return sum_of_losses


def _diverged(what: str, got: float) -> DivergedError:
    return DivergedError(
        f"the training diverged: {what} is {got}, expected a finite number; lower adaptation.learning_rate or raise"
        " adaptation.warmup_share"
    )


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """Takes back what BatchNorms that run again inside add to their statistics, in which each batch counts once."""
    before = copied(statistics(model))
    yield
    for name, tensor in statistics(model).items():
        tensor.copy_(before[name])


def _origin(training: Training) -> Mapping[str, Tensor]:
    """The pre-trained weights of what learns: those of the training's base, or as they are before the first step."""
    base = training.base
    learning = {name: tensor for name, tensor in trainable(training.model).items() if not name.startswith(f"{HEAD}.")}
    return copied(learning) if base is None else {name: base[name] for name in learning}


def _pull_towards(origin: Mapping[str, Tensor], learning: Mapping[str, Tensor], strength: float) -> None:
    """Add the gradient of `strength` / 2 times the squared distance from the pre-trained weights."""
    for name, start in origin.items():
        gradient = learning[name].grad
        if gradient is not None:
            gradient.add_(learning[name].detach() - start, alpha=strength)


def _finish_epoch(training: Training, state: _State, *, steps: int) -> None:
    train_loss, is_settled = state.loss_sum / steps, training.plan.last_epoch is not None
    loss, score = (train_loss, 0.0) if is_settled else validate(training)
    if not math.isfinite(loss):
        raise _diverged(f"the loss of {len(training.validation.targets)} validation rows", loss)
    epoch = Epoch(len(state.epochs) + 1, train_loss, loss, score)
    state.epochs.append(epoch)
    state.loss_sum = 0.0
    if is_settled or best_epoch(state.epochs) is epoch:
        state.best = copied(learned(training.model, training.point))


def _is_done(epochs: Sequence[Epoch], plan: Plan) -> bool:
    if len(epochs) >= (plan.last_epoch or plan.epochs):
        return True
    return bool(plan.patience and epochs and len(epochs) - best_epoch(epochs).number >= plan.patience)


def _save(training: Training, state: _State, *, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    model, point = training.model, training.point
    tensors = {f"model/{name}": tensor for name, tensor in learned(model, point).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in trainable(model).items():
        tensors |= {f"optimizer/{name}/{slot}": value for slot, value in optimizer.state[parameter].items()}
    tensors |= _random_states(device_of(model))
    epochs = cast("list[JsonValue]", [asdict(epoch) for epoch in state.epochs])
    written: dict[str, JsonValue] = {"step": state.step, "loss_sum": state.loss_sum, "epochs": epochs}
    # A resumed training must freeze what the interrupted one froze.
    written["trainable"] = list(point.trainable_parameters)
    save_checkpoint(folder, state.step, tensors, written)
    training.listener.saved()


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {RANDOM: torch.get_rng_state()}
    return states if device == CPU else states | {OF_GPU: torch.cuda.get_rng_state(device)}


def _resumed(training: Training, folder: Path, *, optimizer: torch.optim.Optimizer) -> _State:
    """How far an interrupted training came, with the model, the optimizer and the random generators as they were."""
    model, point = training.model, training.point
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return _State()
    if checkpoint.state["trainable"] != list(point.trainable_parameters):
        raise GraftlineError(
            f"{folder}: the interrupted training froze other parameters than this one would; delete the folder to"
            " start again"
        )
    with torch.no_grad():
        for name, tensor in learned(model, point).items():
            tensor.copy_(checkpoint.tensors[f"model/{name}"])
        for name, parameter in trainable(model).items():
            slots = _below(checkpoint.tensors, f"optimizer/{name}/")
            optimizer.state[parameter] = {slot: _ordered_as(parameter, value) for slot, value in slots}
    torch.set_rng_state(checkpoint.tensors[RANDOM])
    if OF_GPU in checkpoint.tensors:
        torch.cuda.set_rng_state(checkpoint.tensors[OF_GPU], device_of(model))
    written = cast("dict[str, float]", checkpoint.state)
    epochs = [Epoch(**epoch) for epoch in cast("list[dict[str, float]]", checkpoint.state["epochs"])]  # type: ignore[arg-type]
    return _State(int(written["step"]), written["loss_sum"], epochs, dict(_below(checkpoint.tensors, "best/")))


def _ordered_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The value where the parameter is and with its numbers ordered alike, as the optimizer's fused steps need it."""
    if value.shape == parameter.shape:
        return torch.empty_like(parameter).copy_(value)
    return value.to(parameter.device)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))
