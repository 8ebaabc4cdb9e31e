"""Training what is behind a freeze point: once, or in several runs from the same weights whose mean is taken."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from graftline.adaptation_settings import AdaptationSettings
from graftline.averaging import average_greedily, copied, mixed
from graftline.classifier import HEAD, Classifier
from graftline.compiling import compiled_blocks
from graftline.errors import SettingsError
from graftline.freezing import FreezePoint, learned
from graftline.objective import Objective
from graftline.range_test import find_learning_rate
from graftline.training import train
from graftline.training_plan import Epoch, Plan, Progress, Rows, best_epoch
from graftline.validation import validate

# Between the seeds of the runs that are averaged, so that neighbouring seeds in the settings share none.
SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes."""

    progress: Callable[[Progress], None] = lambda _: None
    finished_epoch: Callable[[Epoch], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Trained:
    """What a training came to. The model itself was changed in place."""

    epochs: tuple[Epoch, ...]
    members: tuple[int, ...]
    """The epochs whose mean the weights are; usually one."""
    learning_rate: float
    """The highest rate of the pre-trained part."""


@dataclass(frozen=True)
class TrainingRuns:
    """Trains `model` behind `point` on the rows of `train`, in which those of `validation` choose."""

    model: Classifier
    point: FreezePoint
    rows: Mapping[str, Rows]
    settings: AdaptationSettings
    objective: Objective
    listener: Listener
    base: Mapping[str, Tensor] | None = None
    """The weights that L2-SP pulls towards; None: those from which the training starts."""

    def run(self, plan: Plan, folder: Path, before: int = 0) -> Trained:
        """Train, with checkpoints in `folder`, and number the epochs on from `before`.

        Several runs start from the same weights and see the rows in other orders; the mean of their weights is taken
        (Wortsman et al. 2022, arXiv 2203.05482), unless its validation loss is higher than that of the best run.
        """
        if self.settings.gradient_checkpointing:
            _recompute_activations(self.model.backbone)
        with compiled_blocks(self.model, self.point) if self.settings.compile else nullcontext():
            return self._all(plan, folder, before)

    def _all(self, plan: Plan, folder: Path, before: int) -> Trained:
        if self.settings.runs == 1:
            return self._once(plan, folder, before)
        start, mean, best = copied(learned(self.model, self.point)), dict[str, Tensor](), dict[str, Tensor]()
        runs: list[Trained] = []
        epochs: tuple[Epoch, ...] = ()
        for run in range(self.settings.runs):
            self.model.load_state_dict(start, strict=False)
            seeded = replace(plan, seed=(plan.seed + run * SEED_STEP) % 2**31)
            done = self._once(seeded, folder / f"run-{run}", before + len(epochs))
            weights = copied(learned(self.model, self.point))
            mean = mixed(mean, weights, 1 / (run + 1)) if mean else weights
            runs, epochs = [*runs, done], epochs + done.epochs
            if best_epoch(epochs) in done.epochs:
                best = weights
        if self._mean_is_taken(mean, best_epoch(epochs), plan):
            return replace(runs[-1], epochs=epochs, members=tuple(number for run in runs for number in run.members))
        self.model.load_state_dict(best, strict=False)
        of_best = next(run for run in runs if best_epoch(epochs) in run.epochs)
        return replace(of_best, epochs=epochs)

    def _mean_is_taken(self, mean: Mapping[str, Tensor], alone: Epoch, plan: Plan) -> bool:
        """Put the mean of the runs into the model. Returns: whether it does no worse than the best run alone."""
        self.model.load_state_dict(mean, strict=False)
        loss, score = validate(self.model, self.rows["validation"], self.objective, plan)
        self.listener.say(
            f"weights: the mean of {self.settings.runs} runs has validation loss {loss:.4f}, score"
            f" {score:.4f}; the best run alone {alone.validation_loss:.4f}, {alone.validation_score:.4f}"
        )
        return loss <= alone.validation_loss

    def _once(self, plan: Plan, folder: Path, before: int) -> Trained:
        objective, listener, held = self.objective, self.listener, self.rows["validation"]
        if self.settings.find_learning_rate:
            plan = self._with_found_rate(plan)

        def numbered(epoch: Epoch) -> Epoch:
            return replace(epoch, number=epoch.number + before)

        epochs = train(
            self.model, self.point, rows=self.rows["train"], validation=held, plan=plan, head=HEAD,
            objective=objective, folder=folder, epochs_before=before, base=self.base, report=listener.progress,
            finished_epoch=lambda epoch: listener.finished_epoch(numbered(epoch)),
        )  # fmt: skip
        members = [best_epoch(epochs).number]
        if plan.keep_epochs:
            members = average_greedily(
                self.model, epochs, validation=held, objective=objective, plan=plan, folder=folder
            )
        counted = tuple(number + before for number in members)
        if len(counted) > 1:
            listener.say(f"weights: the mean of the epochs {', '.join(map(str, sorted(counted)))}")
        return Trained(tuple(map(numbered, epochs)), counted, plan.learning_rate)

    def _with_found_rate(self, plan: Plan) -> Plan:
        """The plan with both rates scaled to what a range test found."""
        rate = find_learning_rate(
            self.model, self.point, rows=self.rows["train"], plan=plan, head=HEAD, objective=self.objective
        )
        if rate is None:
            self.listener.say(f"learning rate: the range test saw the loss fall at no rate; kept {plan.learning_rate}")
            return plan
        self.listener.say(f"learning rate: {rate:.2g}, found by a range test")
        of_head = rate * plan.head_learning_rate / plan.learning_rate
        return replace(plan, learning_rate=rate, head_learning_rate=of_head)


def plan_from(settings: AdaptationSettings) -> Plan:
    """How to train, as the settings say it."""
    return Plan(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        head_learning_rate=settings.head_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_share=settings.warmup_share,
        precision=settings.precision,
        patience=settings.patience,
        seed=settings.seed,
        schedule=settings.schedule,
        layer_decay=settings.layer_decay,
        l2_sp=settings.l2_sp,
        accumulation=settings.gradient_accumulation,
        keep_epochs=settings.average == "greedy",
        recomputed=settings.gradient_checkpointing,
    )


def _recompute_activations(backbone: nn.Module) -> None:
    """Compute activations again in the backward pass instead of keeping them (Chen et al. 2016, arXiv 1604.06174).

    Raises: SettingsError if the library of this model has no way to do it.
    """
    for way in ("gradient_checkpointing_enable", "set_grad_checkpointing"):
        if hasattr(backbone, way):
            try:
                getattr(backbone, way)()
            except (ValueError, AssertionError):
                break
            return
    raise SettingsError(
        f"adaptation.gradient_checkpointing: {type(backbone).__name__} cannot do it; set it to false and lower"
        " adaptation.batch_size, with adaptation.gradient_accumulation in its place"
    )
