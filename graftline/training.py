"""Training a model behind its freeze point: seeded, resumable, with the best epoch kept."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftline.batching import shuffled_batches, sorted_batches
from graftline.checkpoints import newest_checkpoint, save_checkpoint
from graftline.errors import GraftlineError
from graftline.freezing import FreezePoint, train_mode
from graftline.objective import Objective
from graftline.precision import Precision, autocast

# A kill costs at most this much work, and writing a checkpoint takes about a second.
CHECKPOINT_SECONDS = 60.0
# So many epochs at most can be averaged; more would only fill the disk.
MOST_KEPT_EPOCHS = 5
EPOCHS = "epochs"
# The range test: from a rate at which nothing learns to one at which everything diverges.
RANGE_STEPS, RANGE_LOWEST, RANGE_HIGHEST = 100, 1e-7, 1.0
RANGE_SMOOTHING, RANGE_STOP = 0.9, 4.0
# A smaller fall of the loss than to this share is noise.
RANGE_FALL = 0.97
# The value that BERT, RoBERTa and most fine-tuning recipes clip at.
MAX_GRADIENT_NORM = 1.0


class DivergedError(GraftlineError):
    """The loss is no longer a finite number."""


class Rows(Protocol):
    """Rows that a model can be trained on, by row number."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def targets(self) -> Tensor: ...
    def in_epoch(self, epoch: int) -> "Rows":
        """The rows as this epoch sees them, counted from 0; as many, and each as long, in every epoch."""
        ...

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        """The model's output for these rows: (rows, outputs)."""
        ...


@dataclass(frozen=True)
class Plan:
    """How to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    warmup_share: float
    precision: Precision
    patience: int
    seed: int
    schedule: Literal["linear", "cosine"] = "linear"
    layer_decay: float = 1.0
    """Each block learns this much more slowly than the one behind it."""
    l2_sp: float = 0.0
    """Strength of the pull of the pre-trained part towards the weights that it started from (arXiv 1802.01483)."""
    accumulation: int = 1
    """Batches whose gradients make one step."""
    keep_epochs: bool = False
    """Whether the weights of the best epochs stay, for `average_greedily`."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to."""

    number: int
    train_loss: float
    validation_loss: float
    validation_score: float
    """The task's primary score; higher is better."""


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    epoch: int
    step: int
    steps: int
    loss: float
    rows_per_second: float


@dataclass
class _State:
    step: int = 0
    loss_sum: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)


def train(
    model: nn.Module,
    point: FreezePoint,
    *,
    rows: Rows,
    validation: Rows,
    plan: Plan,
    head: str,
    objective: Objective,
    folder: Path,
    epochs_before: int = 0,
    report: Callable[[Progress], None] = lambda _: None,
    finished_epoch: Callable[[Epoch], None] = lambda _: None,
) -> list[Epoch]:
    """Train `model` in place and leave it with the weights of its best epoch (highest score, then lowest loss).

    Checkpoints go to `folder`; a training that finds one there goes on from it and ends with the same weights. The
    views of the rows go on from those that `epochs_before` this training have shown.
    """
    per_epoch = len(_groups(rows.in_epoch(epochs_before), plan, epoch=0))
    optimizer = _optimizer(model, plan, head, point.depths)
    origin = _origin(model, head) if plan.l2_sp else {}
    torch.manual_seed(plan.seed)
    state = _resume(model, point, optimizer, folder)
    started, started_step, last_saved = time.monotonic(), state.step, time.monotonic()
    with _fast_attention():
        while not _is_done(state.epochs, plan):
            epoch = len(state.epochs)
            train_mode(model, point)
            seen = rows.in_epoch(epochs_before + epoch)
            for group in _groups(seen, plan, epoch)[state.step - epoch * per_epoch :]:
                _set_learning_rates(optimizer, plan, state.step, per_epoch * plan.epochs)
                loss = _step(model, optimizer, seen, group, objective, plan, origin)
                state.step, state.loss_sum = state.step + 1, state.loss_sum + loss
                in_step = plan.batch_size * plan.accumulation
                speed = (state.step - started_step) * in_step / (time.monotonic() - started)
                report(Progress(epoch + 1, state.step, per_epoch * plan.epochs, loss, speed))
                if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                    _save(model, point, optimizer, state, folder)
                    last_saved = time.monotonic()
            _finish_epoch(model, point, state, validation, objective, plan, per_epoch)
            if plan.keep_epochs:
                _keep_epoch(model, point, state.epochs, folder / EPOCHS)
            finished_epoch(state.epochs[-1])
            _save(model, point, optimizer, state, folder)
            last_saved = time.monotonic()
    model.load_state_dict(state.best, strict=False)
    model.eval()
    return state.epochs


def find_learning_rate(
    model: nn.Module,
    point: FreezePoint,
    *,
    rows: Rows,
    plan: Plan,
    head: str,
    objective: Objective,
) -> float | None:
    """A learning rate for the pre-trained part, by a range test (Smith 2015, arXiv 1506.01186), or None.

    The rate grows from step to step by the same factor, that of the head with it, and the training stops when the
    smoothed loss has grown to `RANGE_STOP` times its first value. The rate a tenth of that with the lowest loss is
    still well in the falling part, as fastai takes it. None: the loss fell at no rate. The model is left as it was.
    """
    rows, start = rows.in_epoch(0), copied(learned(model, point))
    flat = replace(plan, layer_decay=1.0)
    optimizer = _optimizer(model, flat, head, point.depths)
    torch.manual_seed(plan.seed)
    train_mode(model, point)
    groups = itertools.cycle(_groups(rows, plan, epoch=0))
    seen: list[tuple[float, float]] = []
    smoothed = 0.0
    try:
        with _fast_attention():
            for step in range(RANGE_STEPS):
                rate = RANGE_LOWEST * (RANGE_HIGHEST / RANGE_LOWEST) ** (step / (RANGE_STEPS - 1))
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["highest"] / plan.learning_rate
                smoothed = RANGE_SMOOTHING * smoothed + (1 - RANGE_SMOOTHING) * _step(
                    model, optimizer, rows, next(groups), objective, plan, {}
                )
                # Corrected for its start at zero, as in Adam.
                seen.append((smoothed / (1 - RANGE_SMOOTHING ** (step + 1)), rate))
                if seen[-1][0] > RANGE_STOP * seen[0][0]:
                    break
    except DivergedError:
        pass  # which is what the test is for
    finally:
        model.load_state_dict(start, strict=False)
    # The first batches decide alone what the smoothed loss is, so by chance it may be low there.
    settled = seen[RANGE_STEPS // 10 :]
    if not settled or min(settled)[0] >= RANGE_FALL * seen[0][0]:
        return None
    return min(settled)[1] / 10


def average_greedily(
    model: nn.Module, epochs: Sequence[Epoch], *, validation: Rows, objective: Objective, plan: Plan, folder: Path
) -> list[int]:
    """Replace the weights by the mean of those epochs that do better together than the best one alone.

    The greedy soup of Wortsman et al. (2022, arXiv 2203.05482, algorithm 1) over the epochs that `train` kept: from
    the best one down, an epoch joins if the mean with it has no lower validation score, and of equal score no higher
    loss. Returns: the numbers of the epochs in the mean; only one if none helped.
    """
    ranked = sorted(epochs, key=_rank)[:MOST_KEPT_EPOCHS]
    members = [ranked[0].number]
    mean = load_file(_epoch_path(folder / EPOCHS, members[0]))
    reached = (-ranked[0].validation_score, ranked[0].validation_loss)
    for epoch in ranked[1:]:
        other = load_file(_epoch_path(folder / EPOCHS, epoch.number))
        tried = mixed(mean, other, 1 / (len(members) + 1))
        model.load_state_dict(tried, strict=False)
        loss, score = validate(model, validation, objective, plan)
        if (-score, loss) <= reached:
            mean, reached = tried, (-score, loss)
            members.append(epoch.number)
    model.load_state_dict(mean, strict=False)
    model.eval()
    return members


def mixed(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Tensors between two sets, of which `share` is the second's."""
    # Counters of BatchNorm are whole numbers: they stay those of the first.
    return {
        name: tensor.lerp(second[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, whatever becomes of them."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation score; of equals the one with the lowest loss, then the earliest."""
    return min(epochs, key=_rank)


def _rank(epoch: Epoch) -> tuple[float, float, int]:
    return -epoch.validation_score, epoch.validation_loss, epoch.number


def _groups(rows: Rows, plan: Plan, epoch: int) -> list[list[list[int]]]:
    """The batches of one epoch, in groups that make one step each."""
    batches = shuffled_batches(rows.lengths, plan.batch_size, seed=plan.seed, epoch=epoch)
    return [batches[start : start + plan.accumulation] for start in range(0, len(batches), plan.accumulation)]


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    group: Sequence[Sequence[int]],
    objective: Objective,
    plan: Plan,
    origin: Mapping[str, Tensor],
) -> float:
    """One step on the mean loss of all rows of the group. Returns: that loss."""
    total, sum_of_losses = sum(len(batch) for batch in group), 0.0
    for batch in group:
        with autocast(plan.precision):
            logits = rows.logits(model, batch)
        loss = objective.loss(logits.float(), rows.targets[list(batch)]) * (len(batch) / total)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the training diverged: the loss of a batch of {len(batch)} rows is {float(loss.detach())}, expected a"
                " finite number; lower adaptation.learning_rate or raise adaptation.warmup_share"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        sum_of_losses += float(loss.detach())
    trainable = _trainable(model)
    if origin:
        _pull_towards(origin, trainable, plan.l2_sp)
    nn.utils.clip_grad_norm_(trainable.values(), MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sum_of_losses


def _origin(model: nn.Module, head: str) -> dict[str, Tensor]:
    """The pre-trained weights before the first step."""
    trainable = _trainable(model)
    return {name: tensor.detach().clone() for name, tensor in trainable.items() if not name.startswith(f"{head}.")}


def _pull_towards(origin: Mapping[str, Tensor], trainable: Mapping[str, Tensor], strength: float) -> None:
    """Add the gradient of `strength` / 2 times the squared distance from the pre-trained weights."""
    for name, start in origin.items():
        gradient = trainable[name].grad
        if gradient is not None:
            gradient.add_(trainable[name].detach() - start, alpha=strength)


def _finish_epoch(
    model: nn.Module,
    point: FreezePoint,
    state: _State,
    validation: Rows,
    objective: Objective,
    plan: Plan,
    per_epoch: int,
) -> None:
    loss, score = validate(model, validation, objective, plan)
    epoch = Epoch(len(state.epochs) + 1, state.loss_sum / per_epoch, loss, score)
    state.epochs.append(epoch)
    state.loss_sum = 0.0
    if best_epoch(state.epochs) is epoch:
        state.best = copied(learned(model, point))


def validate(model: nn.Module, validation: Rows, objective: Objective, plan: Plan) -> tuple[float, float]:
    """Loss and score of the validation rows."""
    outputs = predict(model, validation, batch_size=plan.batch_size, precision=plan.precision)
    loss = float(objective.validation_loss(outputs, validation.targets))
    return loss, objective.score(outputs, validation.targets)


def _keep_epoch(model: nn.Module, point: FreezePoint, epochs: Sequence[Epoch], folder: Path) -> None:
    """Write the newest epoch's weights and remove those that are no longer among the best."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _epoch_path(folder, epochs[-1].number)
    partial = path.with_suffix(".partial")
    save_file({name: tensor.detach().contiguous() for name, tensor in learned(model, point).items()}, partial)
    partial.rename(path)
    for epoch in sorted(epochs, key=_rank)[MOST_KEPT_EPOCHS:]:
        _epoch_path(folder, epoch.number).unlink(missing_ok=True)


def _epoch_path(folder: Path, number: int) -> Path:
    return folder / f"epoch-{number:04d}.safetensors"


def predict(model: nn.Module, rows: Rows, *, batch_size: int, precision: Precision = "float32") -> Tensor:
    """The model's output for all rows, in row order: (rows, outputs)."""
    model.eval()
    logits = torch.empty(0)
    with torch.no_grad(), autocast(precision):
        for batch in sorted_batches(rows.lengths, batch_size):
            output = rows.logits(model, batch).float()
            if not logits.numel():
                logits = torch.empty(len(rows.lengths), output.shape[1])
            logits[batch] = output
    return logits


def _optimizer(model: nn.Module, plan: Plan, head: str, depths: Mapping[str, int]) -> torch.optim.AdamW:
    """AdamW with a group for each learning rate and weight decay: heads, and blocks by their depth."""
    deepest = max(depths.values(), default=0)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, tensor in _trainable(model).items():
        below = deepest - depths.get(name, deepest)
        is_head = name.startswith(f"{head}.")
        rate = plan.head_learning_rate if is_head else plan.learning_rate * plan.layer_decay**below
        groups.setdefault((rate, plan.weight_decay if tensor.ndim > 1 else 0.0), []).append(tensor)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "weight_decay": decay, "highest": rate}
            for (rate, decay), members in groups.items()
        ],
        fused=True,
    )


def _set_learning_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int, steps: int) -> None:
    """Up along a straight line, then down to zero, along a straight line or half a cosine."""
    warmup = max(1, round(plan.warmup_share * steps))
    falling = (steps - step) / max(1, steps - warmup)
    if plan.schedule == "cosine":
        falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, falling))
    share = min((step + 1) / warmup, falling)
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * share


def _is_done(epochs: Sequence[Epoch], plan: Plan) -> bool:
    if len(epochs) >= plan.epochs:
        return True
    return bool(plan.patience and epochs and len(epochs) - best_epoch(epochs).number >= plan.patience)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def learned(model: nn.Module, point: FreezePoint) -> dict[str, Tensor]:
    """What training changes: the trainable parameters, and the BatchNorm statistics behind the freeze point."""
    still = point.frozen_modules | {name.rpartition(".")[0] for name in point.frozen_parameters}
    statistics = {
        f"{name}.{buffer}": tensor
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and name not in still
        for buffer, tensor in module.named_buffers(recurse=False)
    }
    return _trainable(model) | statistics


def _save(model: nn.Module, point: FreezePoint, optimizer: torch.optim.Optimizer, state: _State, folder: Path) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in learned(model, point).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in _trainable(model).items():
        tensors |= {f"optimizer/{name}/{slot}": value for slot, value in optimizer.state[parameter].items()}
    tensors["random"] = torch.get_rng_state()
    epochs = cast("list[JsonValue]", [asdict(epoch) for epoch in state.epochs])
    written: dict[str, JsonValue] = {"step": state.step, "loss_sum": state.loss_sum, "epochs": epochs}
    # A resumed training must freeze what the interrupted one froze.
    written["trainable"] = list(point.trainable_parameters)
    save_checkpoint(folder, state.step, tensors, written)


def _resume(model: nn.Module, point: FreezePoint, optimizer: torch.optim.Optimizer, folder: Path) -> _State:
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
        for name, parameter in _trainable(model).items():
            optimizer.state[parameter] = dict(_below(checkpoint.tensors, f"optimizer/{name}/"))
    torch.set_rng_state(checkpoint.tensors["random"])
    written = cast("dict[str, float]", checkpoint.state)
    epochs = [Epoch(**epoch) for epoch in cast("list[dict[str, float]]", checkpoint.state["epochs"])]  # type: ignore[arg-type]
    return _State(int(written["step"]), written["loss_sum"], epochs, dict(_below(checkpoint.tensors, "best/")))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))


def _fast_attention() -> AbstractContextManager[object]:
    # On processors, the plain mathematical path trains faster than the fused one: its backward pass is cheaper.
    return cast("AbstractContextManager[object]", sdpa_kernel(SDPBackend.MATH))
