"""Training a classifier behind its freeze point: seeded, resumable, with the best epoch kept."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftline.batching import shuffled_batches, sorted_batches
from graftline.checkpoints import newest_checkpoint, save_checkpoint
from graftline.errors import GraftlineError
from graftline.freezing import FreezePoint, train_mode

# A kill costs at most this much work, and writing a checkpoint takes about a second.
CHECKPOINT_SECONDS = 60.0
# The value that BERT, RoBERTa and most fine-tuning recipes clip at.
MAX_GRADIENT_NORM = 1.0


class Rows(Protocol):
    """Rows that a model can be trained on, by row number."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def targets(self) -> Tensor: ...
    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        """The model's output for these rows: (rows, classes)."""
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
    precision: Literal["float32", "bfloat16"]
    patience: int
    seed: int
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to."""

    number: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


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
    class_weights: Tensor | None,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
    finished_epoch: Callable[[Epoch], None] = lambda _: None,
) -> list[Epoch]:
    """Train `model` in place and leave it with the weights of its best epoch (highest accuracy, then lowest loss).

    Checkpoints go to `folder`; a training that finds one there goes on from it and ends with the same weights.
    """
    per_epoch = len(shuffled_batches(rows.lengths, plan.batch_size, seed=plan.seed, epoch=0))
    optimizer = _optimizer(model, plan, head)
    loss_of = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=plan.label_smoothing)
    torch.manual_seed(plan.seed)
    state = _resume(model, optimizer, folder)
    started, started_step, last_saved = time.monotonic(), state.step, time.monotonic()
    with _fast_attention():
        while not _is_done(state.epochs, plan):
            epoch = len(state.epochs)
            batches = shuffled_batches(rows.lengths, plan.batch_size, seed=plan.seed, epoch=epoch)
            train_mode(model, point)
            for batch in batches[state.step - epoch * per_epoch :]:
                _set_learning_rates(optimizer, plan, state.step, per_epoch * plan.epochs)
                loss = _step(model, optimizer, rows, batch, loss_of, plan.precision)
                state.step, state.loss_sum = state.step + 1, state.loss_sum + loss
                speed = (state.step - started_step) * plan.batch_size / (time.monotonic() - started)
                report(Progress(epoch + 1, state.step, per_epoch * plan.epochs, loss, speed))
                if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                    _save(model, optimizer, state, folder)
                    last_saved = time.monotonic()
            _finish_epoch(model, state, validation, plan, per_epoch)
            finished_epoch(state.epochs[-1])
            _save(model, optimizer, state, folder)
            last_saved = time.monotonic()
    model.load_state_dict(state.best, strict=False)
    model.eval()
    return state.epochs


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation accuracy; of equals the one with the lowest loss, then the earliest."""
    return min(epochs, key=lambda epoch: (-epoch.validation_accuracy, epoch.validation_loss, epoch.number))


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Weight of each class, inverse to its frequency, 1 on average over the rows: (classes,).

    A class without rows counts as if it had one: its weight is never used, but stays a number.
    """
    return len(targets) / (classes * torch.bincount(targets, minlength=classes).clamp(min=1).float())


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    batch: Sequence[int],
    loss_of: nn.CrossEntropyLoss,
    precision: str,
) -> float:
    with autocast(precision):
        logits = rows.logits(model, batch)
    loss = loss_of(logits.float(), rows.targets[list(batch)])
    if not torch.isfinite(loss):
        raise GraftlineError(
            f"the training diverged: the loss of a batch of {len(batch)} rows is {float(loss.detach())}, expected a"
            " finite number; lower adaptation.learning_rate or raise adaptation.warmup_share"
        )
    loss.backward()
    nn.utils.clip_grad_norm_(_trainable(model).values(), MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def autocast(precision: str) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the settings ask for it; weights stay float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def _finish_epoch(model: nn.Module, state: _State, validation: Rows, plan: Plan, per_epoch: int) -> None:
    logits = predict(model, validation, batch_size=plan.batch_size, precision=plan.precision)
    epoch = Epoch(
        number=len(state.epochs) + 1,
        train_loss=state.loss_sum / per_epoch,
        validation_loss=float(nn.functional.cross_entropy(logits, validation.targets)),
        validation_accuracy=float((logits.argmax(1) == validation.targets).float().mean()),
    )
    state.epochs.append(epoch)
    state.loss_sum = 0.0
    if best_epoch(state.epochs) is epoch:
        state.best = {name: tensor.detach().clone() for name, tensor in _trainable(model).items()}


def predict(model: nn.Module, rows: Rows, *, batch_size: int, precision: str = "float32") -> Tensor:
    """The model's output for all rows, in row order: (rows, classes)."""
    model.eval()
    logits = torch.empty(0)
    with torch.no_grad(), autocast(precision):
        for batch in sorted_batches(rows.lengths, batch_size):
            output = rows.logits(model, batch).float()
            if not logits.numel():
                logits = torch.empty(len(rows.lengths), output.shape[1])
            logits[batch] = output
    return logits


def _optimizer(model: nn.Module, plan: Plan, head: str) -> torch.optim.AdamW:
    groups = []
    for of_head, rate in ((False, plan.learning_rate), (True, plan.head_learning_rate)):
        for is_matrix, decay in ((True, plan.weight_decay), (False, 0.0)):
            members = [
                tensor
                for name, tensor in _trainable(model).items()
                if name.startswith(f"{head}.") == of_head and (tensor.ndim > 1) == is_matrix
            ]
            groups.append({"params": members, "lr": rate, "weight_decay": decay, "highest": rate})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _set_learning_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int, steps: int) -> None:
    warmup = max(1, round(plan.warmup_share * steps))
    share = min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * share


def _is_done(epochs: Sequence[Epoch], plan: Plan) -> bool:
    if len(epochs) >= plan.epochs:
        return True
    return bool(plan.patience and epochs and len(epochs) - best_epoch(epochs).number >= plan.patience)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, state: _State, folder: Path) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in _trainable(model).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in _trainable(model).items():
        tensors |= {f"optimizer/{name}/{slot}": value for slot, value in optimizer.state[parameter].items()}
    tensors["random"] = torch.get_rng_state()
    epochs = cast("list[JsonValue]", [asdict(epoch) for epoch in state.epochs])
    save_checkpoint(folder, state.step, tensors, {"step": state.step, "loss_sum": state.loss_sum, "epochs": epochs})


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> _State:
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return _State()
    with torch.no_grad():
        for name, parameter in _trainable(model).items():
            parameter.copy_(checkpoint.tensors[f"model/{name}"])
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
