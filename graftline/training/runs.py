"""Training the part behind a freeze point: once, or in several runs from the same weights whose mean is taken."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.frozen.freezing import learned
from graftline.models.parts import BACKBONE
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.averaging import average_greedily, copied, mixed
from graftline.training.compiling import compiled_blocks
from graftline.training.interpolation import Between, interpolate
from graftline.training.loop import train
from graftline.training.plan import Plan, Train, Training
from graftline.training.progress import Epoch, best_epoch
from graftline.training.rate_search import find_learning_rate
from graftline.training.validation_score import validate

# Between the seeds of the runs that are averaged, so that neighbouring seeds in the settings share none.
SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Trained:
    """The outcome of a training. The model itself was changed in place."""

    epochs: tuple[Epoch, ...]
    members: tuple[int, ...]
    """The epochs whose mean the weights are; usually one."""
    learning_rate: float
    """The highest rate of the pre-trained part."""
    between: tuple[Between, ...] = ()
    """The means of these weights and those before the training that were tried, the one that was taken first."""


@dataclass(frozen=True)
class TrainingRuns:
    """A training, in as many runs as the settings ask for."""

    training: Training
    settings: AdaptationSettings
    train: Train = train

    def run(self, folder: Path, *, before: int = 0) -> Trained:
        """Train, with checkpoints in `folder`, and number the epochs on from `before`.

        Several runs start from the same weights and see the rows in other orders; the mean of their weights is taken
        (Wortsman et al. 2022, arXiv 2203.05482), unless its validation loss is higher than that of the best run. What
        comes out may be mixed with the weights before all runs.
        """
        training = self.training
        start = copied(learned(training.model, training.point)) if self.settings.average == "wise" else {}
        if self.settings.gradient_checkpointing:
            _recompute_activations(training.model.get_submodule(BACKBONE))
        with compiled_blocks(training.model, training.point) if self.settings.compile else nullcontext():
            one = self.settings.runs == 1
            done = self._once(training, folder, before=before) if one else self._several(folder, before=before)
            return replace(done, between=self._mixed_with(start)) if start else done

    def _several(self, folder: Path, *, before: int) -> Trained:
        model, point, plan = self.training.model, self.training.point, self.training.plan
        start, mean, best = copied(learned(model, point)), dict[str, Tensor](), dict[str, Tensor]()
        runs: list[Trained] = []
        epochs: tuple[Epoch, ...] = ()
        for run in range(self.settings.runs):
            model.load_state_dict(start, strict=False)
            seeded = replace(plan, seed=(plan.seed + run * SEED_STEP) % 2**31)
            training = replace(self.training, plan=seeded)
            done = self._once(training, folder / f"run-{run}", before=before + len(epochs))
            weights = copied(learned(model, point))
            mean = mixed(mean, weights, 1 / (run + 1)) if mean else weights
            runs, epochs = [*runs, done], epochs + done.epochs
            if best_epoch(epochs) in done.epochs:
                best = weights
        if self._mean_is_taken(mean, best_epoch(epochs)):
            return replace(runs[-1], epochs=epochs, members=tuple(number for run in runs for number in run.members))
        model.load_state_dict(best, strict=False)
        of_best = next(run for run in runs if best_epoch(epochs) in run.epochs)
        return replace(of_best, epochs=epochs)

    def _mean_is_taken(self, mean: Mapping[str, Tensor], alone: Epoch) -> bool:
        """Put the mean of the runs into the model. Returns: whether it does no worse than the best run alone."""
        self.training.model.load_state_dict(mean, strict=False)
        loss, score = validate(self.training)
        self.training.listener.say(
            f"weights: the mean of {self.settings.runs} runs has validation loss {loss:.4f}, score"
            f" {score:.4f}; the best run alone {alone.validation_loss:.4f}, {alone.validation_score:.4f}"
        )
        return loss <= alone.validation_loss

    def _mixed_with(self, start: Mapping[str, Tensor]) -> tuple[Between, ...]:
        """Put the best mean of `start` and the weights of the model into it. Returns: all that were tried."""
        between = interpolate(self.training, start)
        best, end = between[0], next(one for one in between if one.share == 1)
        self.training.listener.say(
            f"weights: {best.share:g} of the fine-tuned and {1 - best.share:g} of the first have validation loss"
            f" {best.validation_loss:.4f}, score {best.validation_score:.4f}; the fine-tuned alone"
            f" {end.validation_loss:.4f}, {end.validation_score:.4f}"
        )
        return between

    def _once(self, training: Training, folder: Path, *, before: int) -> Trained:
        if self.settings.find_learning_rate:
            training = replace(training, plan=_with_found_rate(training))

        def numbered(epoch: Epoch) -> Epoch:
            return replace(epoch, number=epoch.number + before)

        listener = training.listener
        told = replace(listener, finished_epoch=lambda epoch: listener.finished_epoch(numbered(epoch)))
        epochs = self.train(replace(training, listener=told), folder, epochs_before=before)
        members = [best_epoch(epochs).number]
        if training.plan.keep_epochs:
            members = average_greedily(training, epochs, folder=folder)
        counted = tuple(number + before for number in members)
        if len(counted) > 1:
            listener.say(f"weights: the mean of the epochs {', '.join(map(str, sorted(counted)))}")
        return Trained(tuple(map(numbered, epochs)), counted, training.plan.learning_rate)


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


def _with_found_rate(training: Training) -> Plan:
    """The plan with both rates scaled to the one that a range test found."""
    plan, say = training.plan, training.listener.say
    rate = find_learning_rate(training)
    if rate is None:
        say(f"learning rate: the range test saw the loss fall at no rate; kept {plan.learning_rate}")
        return plan
    say(f"learning rate: {rate:.2g}, found by a range test")
    of_head = rate * plan.head_learning_rate / plan.learning_rate
    return replace(plan, learning_rate=rate, head_learning_rate=of_head)
