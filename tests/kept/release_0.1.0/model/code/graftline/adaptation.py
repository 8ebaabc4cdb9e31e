"""Adapting a model: each strategy says what is frozen when, and how the rest learns."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from pydantic import JsonValue
from torch import Tensor

from graftline.adaptation_settings import AdaptationSettings, Strategy
from graftline.augmentation import views_of
from graftline.averaging import copied
from graftline.blocks import find_blocks
from graftline.classifier import HEAD, Classifier
from graftline.device import gpu_faults_told, prepare
from graftline.digests import json_sha256
from graftline.errors import GraftlineError
from graftline.feature_store import FeatureStore, FeatureStoreFullError
from graftline.freezing import FreezePoint, freeze, frozen_sha256
from graftline.input_rows import FeatureRows, InputRows, ReplayedRows, fill, joined, plan_for, row_keys, run_through
from graftline.linear_head import Refit, SolvedHead, solve_head
from graftline.lora import add_lora, merge_lora
from graftline.objective import Objective, objective_for
from graftline.replay import replaying
from graftline.scoring import SCORING, spelt
from graftline.training_plan import Epoch, Plan, Rows, best_epoch
from graftline.training_runs import Listener, Trained, TrainingRuns, plan_from

# Rows that show in which order a model runs its parts.
EXAMPLE_ROWS = 2


class Stores(Protocol):
    """Opens the store of what the frozen part in front of a freeze point gives."""

    def __call__(self, point: FreezePoint) -> AbstractContextManager[FeatureStore]: ...


@dataclass(frozen=True)
class Adapted:
    """How an adaptation went. The model itself was changed in place."""

    frozen: str
    """What was frozen, in words."""
    frozen_sha256: str
    """Digest of all frozen parameters and buffers, the same before and after; of the list of those of all stages, if
    there are stages."""
    epochs: tuple[Epoch, ...]
    members: tuple[int, ...]
    """The epochs whose mean the weights are; usually one."""
    learning_rate: float
    """The highest rate of the pre-trained part."""
    head_penalty: float | None = None
    """The L2 penalty of a solved head."""
    validation_outputs: Tensor | None = field(default=None, compare=False)
    """(rows, outputs): what was said of the validation rows before the model learnt from these, too, if it did."""


@dataclass(frozen=True)
class Adaptation:
    """One adaptation of `model` to the rows of `train`, in which those of `validation` choose."""

    model: Classifier
    rows: Mapping[str, InputRows]
    settings: AdaptationSettings
    stores: Stores
    folder: Path
    """Where checkpoints go; who finds some there goes on from them."""
    listener: Listener = field(default_factory=Listener)

    def run(self) -> Adapted:
        """Change the model in place; it stays on the device that adapted it.

        Raises: SettingsError for what this model or machine has not; GraftlineError.
        """
        strategies = {
            "feature_extraction": self._feature_extraction,
            "probe_then_fine_tune": self._probe_then_fine_tune,
            "gradual_unfreezing": self._gradual_unfreezing,
            "lora": self._lora,
        }
        device = torch.device(self.settings.device)
        prepare(device)
        with gpu_faults_told():
            self.model.to(device)
            return strategies.get(self.settings.strategy, self._plain)()

    def _plain(self) -> Adapted:
        return self._one_stage(self._freeze(self.settings.strategy, self.settings.freeze_until))

    def _feature_extraction(self) -> Adapted:
        """Only the head: a linear one at its optimum, any other trained, both on kept features."""
        point = self._freeze("feature_extraction", None)
        with self._standing_still(point) as digest:
            rows = self._features(point)
            if self.settings.head == "linear":
                epoch, solved = self._solve(rows, refit=True)
                return Adapted(
                    point.description, digest, (epoch,), (1,), 0.0, solved.penalty, solved.validation_outputs
                )
            trained = self._train(point, rows, plan_from(self.settings), self.folder)
        return Adapted(point.description, digest, trained.epochs, trained.members, 0.0)

    def _probe_then_fine_tune(self) -> Adapted:
        """The solved head first, so that fine-tuning does not distort the features for a random one (LP-FT).

        The head was solved for the statistics that every BatchNorm has, so these stay: those of batches of rows unlike
        the pre-training's would make it meaningless in the first step. It also stays if no epoch beats it.
        """
        probe, head = self._solve(self._features(self._freeze("feature_extraction", None)))
        solved = copied(self.model.state_dict())
        point = self._freeze(self.settings.strategy, self.settings.freeze_until)
        adapted = self._one_stage(replace(point, still_statistics=True), before=1)
        epochs, members = (probe, *adapted.epochs), adapted.members
        if best_epoch(epochs) is probe:
            self.listener.say("fine-tuning: no epoch was better than the solved head alone, which is kept")
            self.model.load_state_dict(solved)
            members = (probe.number,)
        return replace(adapted, epochs=epochs, members=members, head_penalty=head.penalty)

    def _lora(self) -> Adapted:
        """Low-rank adapters beside the weights of the blocks behind the freeze point."""
        settings, blocks = self.settings, find_blocks(self.model)
        if settings.freeze_until is not None:
            frozen = self._freeze("partial", settings.freeze_until).frozen_blocks
            blocks = tuple(name for name in blocks if name not in frozen)
        torch.manual_seed(settings.seed)
        add_lora(
            self.model, blocks, rank=settings.lora_rank, alpha=settings.lora_alpha, dropout=settings.lora_dropout,
            targets=settings.lora_targets,
        )  # fmt: skip
        adapted = self._one_stage(self._freeze(settings.strategy, settings.freeze_until))
        if settings.lora_merge:
            merge_lora(self.model)
        return adapted

    def _one_stage(self, point: FreezePoint, before: int = 0) -> Adapted:
        """Everything that is not frozen, from the first epoch to the last; so many epochs were `before` them."""
        with self._standing_still(point) as digest, self._prepared(point) as rows:
            trained = self._train(point, rows, plan_from(self.settings), self.folder, before)
        return Adapted(point.description, digest, trained.epochs, trained.members, trained.learning_rate)

    def _gradual_unfreezing(self) -> Adapted:
        """From the head down in stages (ULMFiT, arXiv 1801.06146), each from the best epoch of the one before it."""
        done: list[Epoch] = []
        best: dict[str, Tensor] = {}
        members: tuple[int, ...] = ()
        digests: list[JsonValue] = []
        described, rate = "", 0.0
        base = copied(dict(self.model.named_parameters())) if self.settings.l2_sp else None
        for stage, (strategy, until, epochs) in enumerate(self._stages()):
            point = self._freeze(strategy, until)
            self.listener.say(f"stage {stage + 1}: frozen is {point.description}")
            with self._standing_still(point) as digest, self._prepared(point) as rows:
                digests.append(digest)
                plan = replace(plan_from(self.settings), epochs=epochs)
                trained = self._train(point, rows, plan, self.folder / f"stage-{stage}", len(done), base)
            done, rate = [*done, *trained.epochs], trained.learning_rate
            if best_epoch(done) in trained.epochs:
                best, members = copied(self.model.state_dict()), trained.members
                described = f"{described}{', then ' if described else ''}{point.description}"
        self.model.load_state_dict(best)
        return Adapted(described, json_sha256(digests), tuple(done), members, rate)

    def _stages(self) -> Iterator[tuple[Strategy, str | None, int]]:
        """What is frozen in each stage, and for how many epochs: all but the head, then fewer blocks, then nothing."""
        epochs, each = self.settings.epochs, self.settings.stage_epochs
        count, blocks = -(-epochs // each), len(find_blocks(self.model))
        for stage in range(count):
            length = min(each, epochs - stage * each)
            frozen = blocks - math.ceil(stage * blocks / max(1, count - 1))
            if stage == 0 and count > 1:
                yield "feature_extraction", None, length
            elif stage == count - 1 or frozen == 0:
                yield "fine_tuning", None, length
            else:
                yield "partial", str(frozen), length

    def _freeze(self, strategy: Strategy, until: str | None) -> FreezePoint:
        few = range(min(EXAMPLE_ROWS, len(self.rows["train"].encoded)))
        return freeze(self.model, strategy, until, head=HEAD, example=self.rows["train"].batch(few))

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

    @contextmanager
    def _prepared(self, point: FreezePoint) -> Iterator[Mapping[str, Rows]]:
        """The rows to train on: as they are if nothing can be kept, otherwise from what the frozen part gave once."""
        if point.first_trainable is None:
            yield self._seen
            return
        if point.first_trainable == HEAD:
            yield self._features(point)
            return
        plan = plan_for(self.model, point, self.rows["train"])
        with ExitStack() as opened:
            kept = self._filled(point, opened)
            if kept is None:
                opened.close()  # nobody else should wait for a store that this training does not use
                yield self._seen
                return
            store, keys = kept
            give = opened.enter_context(replaying(self.model, point, plan))
            yield {split: ReplayedRows(rows, store, keys[split], give) for split, rows in self._seen.items()}

    def _features(self, point: FreezePoint) -> Mapping[str, FeatureRows]:
        in_views = {split: rows.in_all_views() for split, rows in self._seen.items()}
        with ExitStack() as opened:
            kept = self._filled(point, opened)
            if kept is None:
                # One vector per row has room in memory where the files of all runs have none on the disk.
                opened.close()
                way = self.settings.precision, self.settings.runtime
                exact = {split: run_through(self.model, point, rows, *way) for split, rows in in_views.items()}
                # As the store would have rounded them.
                rounded = getattr(torch, self.settings.feature_precision)
                vectors = {split: tensor.to(rounded).float() for split, tensor in exact.items()}
            else:
                vectors = {split: kept[0].batch(keys).float() for split, keys in kept[1].items()}
        for split, tensor in vectors.items():
            if odd := int((~tensor.isfinite().all(-1)).sum()):
                raise GraftlineError(
                    f"the frozen part gives numbers that are not finite for {odd} of {len(tensor)} {split} rows, so no"
                    " head can learn from them; remove rows with extreme content or choose another base model"
                )
        return {
            split: FeatureRows(vectors[split], rows.targets, max(1, len(self._seen[split].views)))
            for split, rows in in_views.items()
        }

    @property
    def _seen(self) -> Mapping[str, InputRows]:
        """The rows, those to learn from in their random views: as many as a solved head learns from, or epochs show."""
        settings = self.settings
        solved = settings.head == "linear" and settings.strategy in ("feature_extraction", "probe_then_fine_tune")
        count = settings.views if solved else min(settings.views, settings.epochs * settings.runs)
        views = views_of(settings.augmentation, seed=settings.seed, count=count)
        return {**self.rows, "train": replace(self.rows["train"], views=views)}

    def _filled(self, point: FreezePoint, opened: ExitStack) -> tuple[FeatureStore, Mapping[str, list[str]]] | None:
        """The store with all rows in it, open as long as `opened`; None, and told, if there is no room for them."""
        try:
            store = opened.enter_context(self.stores(point))
            in_views = {split: rows.in_all_views() for split, rows in self._seen.items()}
            keys = {split: row_keys(rows) for split, rows in in_views.items()}
            # All at once: rows of one length share batches, whichever side they are on.
            together, of_all = joined(list(in_views.values())), [key for of_split in keys.values() for key in of_split]
            ran = fill(
                store, self.model, point, together, of_all,
                precision=self.settings.precision, runtime=self.settings.runtime,
            )  # fmt: skip
            self.listener.say(f"frozen part: ran once for {ran} rows, {len(of_all) - ran} were kept")
            for name in store.evicted:
                self.listener.say(f"frozen part: what was kept in {name}, the least recently used, made room")
        except FeatureStoreFullError as error:
            instead = "once, into memory" if point.first_trainable == HEAD else "in every epoch"
            self.listener.say(f"{error}; the frozen part runs {instead}")
            return None
        return store, keys

    def _solve(self, rows: Mapping[str, FeatureRows], *, refit: bool = False) -> tuple[Epoch, SolvedHead]:
        """Put the optimal linear head into the model.

        A `refit` learns from the validation rows, too, so only where nothing that follows is chosen by them.
        """
        layer, objective = self.model.output_layer, self._objective()
        held = rows["validation"]
        solved = solve_head(
            rows["train"].features, rows["train"].targets, validation=(held.features, held.targets),
            outputs=layer.out_features, loss_of=objective.loss, validation_loss_of=objective.validation_loss,
            penalty=self.settings.head_penalty or None,
            refit=Refit(self._objective("train", "validation").loss, rows["train"].views) if refit else None,
        )  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(solved.weight)
            layer.bias.copy_(solved.bias)
        score = objective.score(solved.validation_outputs, held.targets)
        epoch = Epoch(1, solved.train_loss, solved.validation_loss, score)
        name = spelt(SCORING[self.model.outputs.task].primary)
        self.listener.say(f"head: solved with an L2 penalty of {solved.penalty:.2g}, validation {name} {score:.4f}")
        self.listener.finished_epoch(epoch)
        return epoch, solved

    def _objective(self, *learnt: str) -> Objective:
        """What is minimised; classes are weighed by how often they are in the splits that are learnt from."""
        return objective_for(
            self.model.outputs, torch.cat([self.rows[split].targets for split in learnt or ("train",)]),
            balanced=self.settings.class_weights == "balanced", label_smoothing=self.settings.label_smoothing,
        )  # fmt: skip

    def _train(
        self,
        point: FreezePoint,
        rows: Mapping[str, Rows],
        plan: Plan,
        folder: Path,
        before: int = 0,
        base: Mapping[str, Tensor] | None = None,
    ) -> Trained:
        runs = TrainingRuns(self.model, point, rows, self.settings, self._objective(), self.listener, base)
        return runs.run(plan, folder, before)
