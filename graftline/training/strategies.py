"""Adapting a model: for each strategy how it goes, from the base model to the adapted one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import JsonValue
from torch import Tensor

from graftline.compute.device import gpu_faults_told, prepare
from graftline.compute.spread import Spread
from graftline.digests import json_sha256
from graftline.errors import GraftlineError
from graftline.frozen.freezing import FreezePoint, freeze, frozen_sha256
from graftline.frozen.rows import FeatureRows, InputRows
from graftline.models.blocks import find_blocks
from graftline.models.classifier import Classifier
from graftline.models.lora import add_lora, merge_lora
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.settings.refitting import learns_again
from graftline.training.adapted import Adapted
from graftline.training.all_rows import settled, with_validation_rows
from graftline.training.averaging import copied
from graftline.training.contrastive import Contrast, paired
from graftline.training.loop import train
from graftline.training.objective import Objective, ObjectiveFor
from graftline.training.plan import Rows, Train, Training, plan_from
from graftline.training.preparation import Preparation, Stores
from graftline.training.progress import Epoch, Listener, best_epoch
from graftline.training.runs import TrainingRuns
from graftline.training.several import SeveralTargets, learning_variances, log_variances_of
from graftline.training.solved_heads import SolvedHeads, solve_heads
from graftline.training.stages import stages
from graftline.training.validation_score import predict

# Rows that show in which order a model runs its parts.
EXAMPLE_ROWS = 2
# Of the checkpoints of a training on all labelled rows.
FROM_ALL = "all-rows"


@dataclass(frozen=True)
class Adaptation:
    """One adaptation of `model` to the rows of `train`, in which those of `validation` choose."""

    model: Classifier
    rows: Mapping[str, InputRows]
    settings: AdaptationSettings
    objective_for: ObjectiveFor
    stores: Stores
    folder: Path
    """Where checkpoints go; who finds some there goes on from them."""
    listener: Listener = field(default_factory=Listener)
    aligned: Callable[[Mapping[str, FeatureRows]], Mapping[str, FeatureRows]] = lambda rows: rows
    """What becomes of the features that a head alone learns from."""
    spread: Spread | None = None
    """Who computes shards of the rows that are to be kept; None: this process."""
    train: Train = train
    """Who trains: this process, or several together."""

    def run(self) -> Adapted:
        """Change the model in place; it stays on the device that adapted it.

        Raises: SettingsError for what this model or machine has not; GraftlineError.
        """
        device = torch.device(self.settings.device)
        prepare(device)
        with gpu_faults_told():
            self.model.to(device)
            run = METHODS[self.settings.named_strategy].run
            if not self._learns_variances:
                return run(self)
            with learning_variances(self.model, self.listener.say):
                return run(self)

    def features(self) -> Mapping[str, FeatureRows]:
        """What the model as it is gives to its head for all rows, from the stores as far as they hold it.

        Raises: what `run` raises; GraftlineError if they are no numbers.
        """
        device = torch.device(self.settings.device)
        prepare(device)
        with gpu_faults_told():
            self.model.to(device)
            return self._preparation.features(self._freeze("feature_extraction", None))

    def _plain_training(self) -> Adapted:
        """Everything that is not frozen, from the first epoch to the last."""
        point = self._freeze(self.settings.named_strategy, self.settings.freeze_until)
        start = copied(self.model.state_dict()) if self._learns_again else {}
        adapted = self._trained_behind(point)
        if not self._learns_again:
            return adapted
        chosen = self._with_chosen(adapted)
        self.model.load_state_dict(start)
        self._train_from_all(point, chosen)
        return chosen

    def _feature_extraction(self) -> Adapted:
        """Only the head: a linear one at its optimum, any other trained, both on kept features."""
        point = self._freeze("feature_extraction", None)
        with self._standing_still(point) as digest:
            rows = self.aligned(self._preparation.features(point))
            if self._solves_head:
                epoch, solved = self._solve(rows, refit=True)
                outputs = solved.validation_outputs
                penalty = solved.penalties[0]
                return Adapted(point.description, digest, (epoch,), (1,), 0.0, penalty, validation_outputs=outputs)
            trained = TrainingRuns(self._training(point, rows), self.settings, self.train).run(self.folder)
        return Adapted(point.description, digest, trained.epochs, trained.members, 0.0)

    def _probe_then_fine_tune(self) -> Adapted:
        """The solved head first, so that fine-tuning does not distort the features for a random one (LP-FT).

        The solved head stays if no epoch beats it, nor any mean with its weights where there are such.
        """
        features = self._preparation.features(self._freeze("feature_extraction", None))
        probe, head = self._solve(features)
        solved = copied(self.model.state_dict())
        point = self._freeze(self.settings.named_strategy, self.settings.freeze_until)
        adapted = self._trained_behind(point, before=1)
        epochs, members = (probe, *adapted.epochs), adapted.members
        probe_is_best = adapted.between[0].share == 0 if adapted.between else best_epoch(epochs) is probe
        if probe_is_best:
            self.listener.say("fine-tuning: no epoch was better than the solved head alone, which is kept")
            self.model.load_state_dict(solved)
            members = (probe.number,)
        adapted = replace(adapted, epochs=epochs, members=members, head_penalty=head.penalties[0])
        if not self._learns_again:
            return adapted
        chosen = self._with_chosen(adapted)
        self.model.load_state_dict(solved)
        self._put(self._solved(features, penalties=head.penalties, refit=True))
        if not probe_is_best:
            self._train_from_all(point, chosen, before=1)
        return chosen

    def _contrastive(self) -> Adapted:
        """The backbone learns to tell rows of one label from others, then the head is solved on what it gives.

        In two stages like SetFit (Tunstall et al. 2022, arXiv 2209.11055).
        """
        settings, listener = self.settings, self.listener
        in_front_of_head = self._freeze("feature_extraction", None)
        point = self._freeze(settings.named_strategy, settings.freeze_until)
        # A pair is two rows of a batch, and one that is alone has nothing to be told from.
        plan = replace(plan_from(settings), batch_size=max(2, settings.batch_size // 2))
        told = replace(listener, finished_epoch=lambda epoch: listener.say(_contrast_of(epoch)))
        with self._standing_still(point) as digest, self._preparation.prepared(point) as rows:
            pairs = {split: paired(of_split, seed=settings.seed) for split, of_split in rows.items()}
            training = Training(self.model, point, pairs["train"], pairs["validation"], Contrast(), plan, told)
            trained = TrainingRuns(training, settings).run(self.folder)
        features = self._preparation.features(in_front_of_head, keep=False)
        epoch, head = self._solve(features, refit=True)
        return Adapted(
            point.description,
            digest,
            (epoch,),
            (epoch.number,),
            trained.learning_rate,
            head.penalties[0],
            validation_outputs=head.validation_outputs,
        )

    def _lora(self) -> Adapted:
        """Low-rank adapters beside the weights of the blocks behind the freeze point."""
        settings, blocks = self.settings, find_blocks(self.model)
        if settings.freeze_until is not None:
            frozen = self._freeze("partial", settings.freeze_until).frozen_blocks
            blocks = tuple(name for name in blocks if name not in frozen)
        torch.manual_seed(settings.seed)
        add_lora(
            self.model,
            blocks,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            targets=settings.lora_targets,
        )
        adapted = self._plain_training()
        if settings.lora_merge:
            merge_lora(self.model)
        return adapted

    def _gradual_unfreezing(self) -> Adapted:
        """From the head down in stages (ULMFiT, arXiv 1801.06146), each from the best epoch of the one before it."""
        done: list[Epoch] = []
        best: dict[str, Tensor] = {}
        members: tuple[int, ...] = ()
        digests: list[JsonValue] = []
        described, rate = "", 0.0
        base = copied(dict(self.model.named_parameters())) if self.settings.l2_sp else None
        for stage, (strategy, until, epochs) in enumerate(stages(self.settings, len(find_blocks(self.model)))):
            point = self._freeze(strategy, until)
            self.listener.say(f"stage {stage + 1}: frozen is {point.description}")
            with self._standing_still(point) as digest, self._preparation.prepared(point) as rows:
                digests.append(digest)
                training = self._training(point, rows, epochs=epochs, base=base)
                runs = TrainingRuns(training, self.settings, self.train)
                trained = runs.run(self.folder / f"stage-{stage}", before=len(done))
            done, rate = [*done, *trained.epochs], trained.learning_rate
            if best_epoch(done) in trained.epochs:
                best, members = copied(self.model.state_dict()), trained.members
                described = f"{described}{', then ' if described else ''}{point.description}"
        self.model.load_state_dict(best)
        return Adapted(described, json_sha256(digests), tuple(done), members, rate)

    def _trained_behind(self, point: FreezePoint, *, before: int = 0) -> Adapted:
        """The outcome of one training; so many epochs were `before` it."""
        with self._standing_still(point) as digest, self._preparation.prepared(point) as rows:
            trained = TrainingRuns(self._training(point, rows), self.settings, self.train).run(
                self.folder, before=before
            )
        return Adapted(
            point.description, digest, trained.epochs, trained.members, trained.learning_rate, between=trained.between
        )

    def _with_chosen(self, adapted: Adapted) -> Adapted:
        """With what the model of the best epoch answers, before it is learned again from all labelled rows."""
        held, settings = self.rows["validation"], self.settings
        outputs = predict(self.model, held, batch_size=settings.batch_size)
        rows = self._labelled
        self.listener.say(f"learning again from all {rows} rows, as long as was best: epoch {adapted.members[0]}")
        return replace(adapted, validation_outputs=outputs, again_from=rows)

    def _train_from_all(self, point: FreezePoint, chosen: Adapted, *, before: int = 0) -> None:
        """Train on all labelled rows with the plan of the first training, up to its best epoch."""
        to_all = replace(self, rows=with_validation_rows(self.rows))
        known = self.settings.model_copy(update={"find_learning_rate": False})
        with self._standing_still(point), to_all._preparation.prepared(point) as rows:
            training = settled(
                to_all._training(point, rows), rate=chosen.learning_rate, last_epoch=chosen.members[0] - before
            )
            TrainingRuns(training, known, self.train).run(self.folder / FROM_ALL, before=before)

    @property
    def _learns_again(self) -> bool:
        return learns_again(self.settings, self._labelled)

    @property
    def _labelled(self) -> int:
        return sum(len(self.rows[split].encoded) for split in ("train", "validation"))

    def _freeze(self, strategy: Strategy, until: str | None) -> FreezePoint:
        few = range(min(EXAMPLE_ROWS, len(self.rows["train"].encoded)))
        return freeze(self.model, strategy, until, example=self.rows["train"].batch(few))

    @contextmanager
    def _standing_still(self, point: FreezePoint) -> Iterator[str]:
        """Proves that what is frozen does not change inside. Yields: its digest."""
        before = frozen_sha256(self.model, point)
        yield before
        if (after := frozen_sha256(self.model, point)) != before:
            raise GraftlineError(
                f"training changed the frozen part ({before[:12]} became {after[:12]}), which must stay as it was;"
                " nothing was kept; please report this model and these settings"
            )

    @property
    def _preparation(self) -> Preparation:
        solves = self._solves_head
        return Preparation(self.model, self.rows, self.settings, self.stores, self.listener, solves, self.spread)

    @property
    def _solves_head(self) -> bool:
        return METHODS[self.settings.named_strategy].head == "solved" and self.settings.head == "linear"

    def _solve(self, rows: Mapping[str, FeatureRows], *, refit: bool = False) -> tuple[Epoch, SolvedHeads]:
        """Put the optimal linear head into the model, that of each target if there are several.

        A `refit` learns from the validation rows, too, so only where nothing that follows is chosen by them.
        """
        given = self.settings.head_penalty
        solved = self._solved(
            rows, penalties=[given] * (1 + len(self.model.outputs.further)) if given else None, refit=refit
        )
        self._put(solved)
        score = self._objective("train").score(solved.validation_outputs, rows["validation"].targets)
        epoch = Epoch(1, solved.train_loss, solved.validation_loss, score)
        penalties = ", ".join(f"{penalty:.2g}" for penalty in solved.penalties)
        self.listener.say(f"head: solved with an L2 penalty of {penalties}, validation score {score:.4f}")
        self.listener.finished_epoch(epoch)
        return epoch, solved

    def _solved(
        self, rows: Mapping[str, FeatureRows], *, penalties: Sequence[float] | None, refit: bool
    ) -> SolvedHeads:
        of_all = self._objective("train", "validation") if refit else None
        return solve_heads(self.model.outputs, rows, self._objective("train"), penalties=penalties, refit=of_all)

    def _put(self, solved: SolvedHeads) -> None:
        layer = self.model.output_layer
        with torch.no_grad():
            layer.weight.copy_(solved.weight)
            layer.bias.copy_(solved.bias)

    def _objective(self, *splits: str) -> Objective:
        """The objective for learning from these splits; classes are weighed by how often they are in them."""
        objective = self.objective_for(
            self.model.outputs,
            torch.cat([self.rows[split].targets for split in splits]),
            balanced=self.settings.class_weights == "balanced",
            adjusted=self.settings.class_weights == "logit_adjusted",
            label_smoothing=self.settings.label_smoothing,
        )
        if isinstance(objective, SeveralTargets) and self._learns_variances:
            return replace(objective, log_variances=log_variances_of(self.model))
        return objective

    @property
    def _learns_variances(self) -> bool:
        return self.settings.task_balance == "uncertainty" and bool(self.model.outputs.further)

    def _training(
        self,
        point: FreezePoint,
        rows: Mapping[str, Rows],
        *,
        epochs: int | None = None,
        base: Mapping[str, Tensor] | None = None,
    ) -> Training:
        """The training behind a freeze point, of so many `epochs`, by default as many as the settings say."""
        plan = replace(plan_from(self.settings), epochs=epochs or self.settings.epochs)
        objective = self._objective("train")
        return Training(self.model, point, rows["train"], rows["validation"], objective, plan, self.listener, base)


@dataclass(frozen=True)
class Method:
    """The way that a strategy goes. On it, it freezes what `FREEZES` says."""

    run: Callable[[Adaptation], Adapted]
    head: Literal["solved", "random"]
    """How the head begins, if it is linear: at its optimum on the frozen features, or with random weights."""
    suits: str
    """The case that it is for, in words."""


METHODS: Mapping[Strategy, Method] = {
    "feature_extraction": Method(
        Adaptation._feature_extraction, "solved", "a result within minutes; a look at what the base model knows"
    ),
    "partial": Method(Adaptation._plain_training, "random", "about half of fine_tuning's time"),
    "fine_tuning": Method(Adaptation._plain_training, "random", "a comparison with other tools, which do the same"),
    "probe_then_fine_tune": Method(
        Adaptation._probe_then_fine_tune, "solved", "usually the best result, so it is the default"
    ),
    "contrastive": Method(Adaptation._contrastive, "solved", "few rows: 8 to 64 for each label"),
    "gradual_unfreezing": Method(
        Adaptation._gradual_unfreezing, "random", "many epochs that should change little near the input"
    ),
    "lora": Method(
        Adaptation._lora, "random", "many models of one base model that keep only adapters (`lora_merge: false`)"
    ),
    "bias_only": Method(Adaptation._plain_training, "random", "a model that hardly differs from the base model"),
    "norm_only": Method(Adaptation._plain_training, "random", "the same; the scale of features learns, too"),
}


def _contrast_of(epoch: Epoch) -> str:
    return (
        f"contrast: epoch {epoch.number}, loss {epoch.train_loss:.4f}, of validation rows {epoch.validation_loss:.4f}"
    )
