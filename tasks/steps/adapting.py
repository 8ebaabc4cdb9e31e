"""Adapting a base model to the accepted training rows: for the candidate, and for baselines."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.device import batch_on
from graftline.compute.threads import thread_count, use_threads
from graftline.data.media_files import DECODING_VERSION
from graftline.data.splitting import Side
from graftline.errors import SettingsError
from graftline.evaluation.scoring import spelt
from graftline.files import write_json
from graftline.settings import Kind, Settings
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import (
    READING_LIBRARIES,
    ValidatedData,
    places_with_target,
    raw_inputs,
    split_targets,
)
from graftline.tasks.progress import ProgressBar, Wait, duration
from graftline.tasks.state.folders import bring_store, keep_unfinished, send_store
from graftline.tasks.state.shared import shared_state
from graftline.tasks.steps.mended_rows import Mending, mended
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.taught_rows import taught_rows
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.freezing import FreezePoint
    from graftline.frozen.keys import KeptUnder
    from graftline.frozen.rows import InputRows
    from graftline.frozen.store import FeatureStore
    from graftline.models.classifier import Classifier
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Preprocessor, Raw, Reading
    from graftline.training.objective import ObjectiveFor
    from graftline.training.preparation import Stores
    from graftline.training.progress import Epoch, Progress
    from graftline.training.strategies import Adapted


# MLflow finds the checkpoint in the registered model under the folder's own name.
MODEL, CHECKPOINTS = "model", "checkpoints"
# The keys of the stores that hold what a step's frozen part gave.
FEATURES = "features.json"
# The score of an epoch where there are several targets.
MEAN_OF_TARGETS = "mean_of_targets"
# The strategy that runs each row through the base model once.
FASTEST: Strategy = "feature_extraction"
# A step forward and backward takes about as long as three passes forward.
STEP_IN_PASSES = 3
# So much of a training is measured before its time is foretold, and only a longer one is worth that.
MEASURED_SECONDS, WORTH_SAYING_SECONDS = 3.0, 10.0

logger = logging.getLogger("graftline.fine_tune")


@dataclass(frozen=True)
class AdaptedModel:
    """An adapted model in memory."""

    model: "Classifier"
    preprocessor: "Preprocessor"
    adapted: "Adapted"
    mended: str | None = None
    """What was done against differences between groups, in words."""


@dataclass(frozen=True)
class BaseOnRows:
    """A base model with a new head, and the accepted rows as it reads them."""

    model: "Classifier"
    preprocessor: "Preprocessor"
    rows: "dict[str, InputRows]"
    """By split."""
    targets: "dict[str, Tensor]"
    """As they are read, by split; those of `rows` are as they are learned."""
    stores: "Stores"
    opened: list[str]
    """The key of each store that `stores` has opened."""
    mended: str | None = None
    """What was done to the rows against differences between groups, in words."""


def base_on_rows(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    *,
    scratch: bool = False,
    mending: Mending | None = None,
) -> BaseOnRows:
    """The verified base model, or its architecture with random weights, beside all that an adaptation starts from."""
    from graftline.models.folders import load_preprocessor
    from graftline.models.preprocessing import Reading

    use_threads(settings.threads)
    verify_base_model(base)
    reading = Reading(data.kind, settings.max_tokens, settings.max_seconds, data.sample_bits)
    preprocessor = load_preprocessor(base.path, reading)
    outputs = _outputs_for(data)
    model = _base_with_head(base, outputs, reading, settings, scratch=scratch)
    sides = ("train", "validation")
    rows: dict[str, InputRows] = {side: _rows(workspace, data, side, preprocessor, outputs) for side in sides}
    targets: dict[str, Tensor] = {side: split_targets(data, side) for side in sides}
    opened: list[str] = []
    stores = _stores(workspace, base, settings, data.kind, opened)
    if mending is None:
        return BaseOnRows(model, preprocessor, rows, targets, stores, opened)
    made = mended(data, mending, rows)
    return BaseOnRows(model, preprocessor, made.rows, targets, stores, opened, made.said)


def adapt_base(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    *,
    folder: Path,
    bar: ProgressBar,
    finished_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    scratch: bool = False,
    mending: Mending | None = None,
    domain: TargetDomain | None = None,
) -> AdaptedModel:
    """Adapt the base model, or its architecture with random weights, to the accepted training rows.

    The rows of a target `domain` are learned from in the way that the settings name, if any are given. Checkpoints go
    to `folder`; who finds some there goes on from them. Beside it is written which stores hold the frozen part's
    output.
    Raises: SettingsError where the settings ask for a mending that the caller does not know.
    """
    from graftline.training.distillation import taught
    from graftline.training.domain.adaptation import TARGET, adapt
    from graftline.training.progress import Listener
    from graftline.training.strategies import Adaptation

    if settings.fairness != "none" and mending is None:
        raise SettingsError(
            f"adaptation.fairness {settings.fairness}: `graftline adapt` and `rank --verify` learn from rows that are"
            " mended so, and this does not; set it to none here"
        )
    there = base_on_rows(workspace, settings, data, base, scratch=scratch, mending=mending)
    model, outputs, objective_for = there.model, there.model.outputs, _objective_for()
    rows: Mapping[str, InputRows] = there.rows
    if settings.teacher is not None:
        rows = taught_rows(workspace, settings, data, there.preprocessor, outputs, rows, domain)
        objective_for = taught(objective_for)
    elif domain is not None:
        rows = {**rows, TARGET: _unlabelled(workspace, domain, there)}
    if domain is None:
        settings = settings.model_copy(update={"domain": "none"})
    teller = _Teller(settings, bar, rows=sum(len(split.encoded) for split in rows.values()))
    adaptation = Adaptation(
        model=model,
        rows=rows,
        settings=settings,
        objective_for=objective_for,
        stores=there.stores,
        folder=folder,
        listener=Listener(
            teller.progress,
            lambda epoch: _tell_epoch(epoch, data, finished_epoch),
            logger.info,
            teller.passed,
            saved=partial(_share_unfinished, workspace, folder.parent, there.opened),
        ),
    )
    adapted = adapt(adaptation)
    write_json(folder.parent / FEATURES, list[JsonValue](sorted(set(there.opened))))
    model.to("cpu")
    model.outputs = _with_temperatures(outputs, model, adapted, rows["validation"], data, settings.batch_size)
    return AdaptedModel(model, there.preprocessor, adapted, there.mended)


def frozen_rate(workspace: Workspace, settings: Settings, base: BaseModel, inputs: Sequence[str]) -> float:
    """How many of the inputs, texts or names of files, pass the base model in a second on this machine."""
    import torch

    from graftline.compute.precision import autocast
    from graftline.models.folders import load_preprocessor
    from graftline.models.media import Medium
    from graftline.models.preprocessing import Reading

    adaptation, kind = settings.adaptation, settings.data.kind
    use_threads(adaptation.threads)
    reading = Reading(kind, adaptation.max_tokens, adaptation.max_seconds)
    preprocessor = load_preprocessor(base.path, reading)
    outputs = TASKS["single_label"].outputs.outputs_for(("a", "b"), torch.tensor([0, 1]))
    model = _base_with_head(base, outputs, reading, adaptation, scratch=False)
    device = torch.device(adaptation.device)
    model.to(device).eval()
    files = workspace.root / settings.data.folder
    raws = inputs if kind == "text" else [Medium(name, files / name) for name in inputs]
    rows = preprocessor.encode(raws)
    with torch.inference_mode(), autocast(adaptation.precision, device):
        model(**batch_on(preprocessor.collate(rows[:2]), device))  # the first batch sets things up
        began = time.monotonic()
        for start in range(0, len(rows), adaptation.batch_size):
            model(**batch_on(preprocessor.collate(rows[start : start + adaptation.batch_size]), device))
    return len(rows) / (time.monotonic() - began)


def head_features(
    workspace: Workspace, settings: AdaptationSettings, data: ValidatedData, base: BaseModel, sides: Sequence[Side]
) -> dict[Side, "Tensor"]:
    """What the untouched base model gives to a head, of the rows on each side: (rows, width), in file order."""
    raws = {side: raw_inputs(workspace, data, side) for side in sides}
    together = [raw for of_side in raws.values() for raw in of_side]
    vectors = head_vectors(workspace, settings, base, together, kind=data.kind, sample_bits=data.sample_bits)
    ends = list(accumulate(len(of_side) for of_side in raws.values()))
    return dict(zip(raws, vectors.tensor_split(ends[:-1]), strict=True))


def head_vectors(
    workspace: Workspace,
    settings: AdaptationSettings,
    base: BaseModel,
    raws: "Sequence[Raw]",
    *,
    kind: Kind,
    sample_bits: int,
) -> "Tensor":
    """What the untouched base model gives to a head, of any inputs: (inputs, width).

    From the stores that adapting fills and reads: the base model runs for those rows only that are in none yet.
    """
    import torch

    from graftline.frozen.rows import InputRows
    from graftline.models.folders import load_preprocessor
    from graftline.models.preprocessing import Reading
    from graftline.training.progress import Listener
    from graftline.training.strategies import Adaptation

    # As they are: random views are for learning.
    plain = settings.model_copy(update={"strategy": FASTEST, "augmentation": "none", "head": "linear"})
    use_threads(plain.threads)
    verify_base_model(base)
    reading = Reading(kind, plain.max_tokens, plain.max_seconds, sample_bits)
    preprocessor, task = load_preprocessor(base.path, reading), TASKS["single_label"]
    # A head is never asked: what it would learn is of no account.
    outputs, targets = task.outputs.outputs_for(("a", "b"), torch.tensor([0, 1])), torch.zeros(len(raws))
    adaptation = Adaptation(
        model=_base_with_head(base, outputs, reading, plain, scratch=False),
        rows={"train": InputRows(preprocessor, preprocessor.encode(raws), targets)},
        settings=plain,
        objective_for=task.objective_for,
        stores=_stores(workspace, base, plain, kind, []),
        folder=workspace.artifacts,
        listener=Listener(passed=Wait("frozen part").tell, say=logger.info),
    )
    return adaptation.features()["train"].features


def _base_with_head(
    base: BaseModel, outputs: "Outputs", reading: "Reading", settings: AdaptationSettings, *, scratch: bool
) -> "Classifier":
    from graftline.models.folders import load_base

    return load_base(
        base.path,
        outputs,
        reading=reading,
        seed=settings.seed,
        head=settings.head,
        block_pattern=settings.block_pattern,
        scratch=scratch,
    )


def _outputs_for(data: ValidatedData) -> "Outputs":
    """Those of a new model for these targets."""
    from graftline.models.outputs import FurtherOutputs

    first = TASKS[data.task].outputs.outputs_for(data.labels, split_targets(data, "train"))
    further = [FurtherOutputs(name, _outputs_for(own)) for name, own in data.targets.items()]
    return replace(first, further=tuple(further)) if further else first


def _objective_for() -> "ObjectiveFor":
    from graftline.training.several import ObjectiveOfTargets

    return ObjectiveOfTargets({name: task.objective_for for name, task in TASKS.items()})


def _rows(
    workspace: Workspace, data: ValidatedData, split: str, preprocessor: "Preprocessor", outputs: "Outputs"
) -> "InputRows":
    """Of several targets also the rows that lack some."""
    from graftline.frozen.rows import InputRows

    if not data.further:
        targets = TASKS[data.task].outputs.as_learned(outputs, split_targets(data, split))
        return InputRows(preprocessor, preprocessor.encode(raw_inputs(workspace, data, split)), targets)
    raws = raw_inputs(workspace, data.with_all_rows, split)
    return InputRows(preprocessor, preprocessor.encode(raws), _targets_beside(data, split, outputs, rows=len(raws)))


def _targets_beside(data: ValidatedData, split: str, outputs: "Outputs", *, rows: int) -> "Tensor":
    import torch

    from graftline.models.several import beside_one_another

    each = [data, *data.targets.values()]
    there = []
    for one in each:
        has_it = torch.zeros(rows, dtype=torch.bool)
        has_it[places_with_target(one, split)] = True
        there.append(has_it)
    kinds = {name: task.outputs for name, task in TASKS.items()}
    return beside_one_another(outputs, [split_targets(one, split) for one in each], there, kinds)


def _unlabelled(workspace: Workspace, domain: TargetDomain, there: BaseOnRows) -> "InputRows":
    """The rows of a target domain, whose targets say nothing."""
    import torch

    from graftline.frozen.rows import InputRows

    encoded = there.preprocessor.encode(domain.inputs(workspace))
    return InputRows(there.preprocessor, encoded, torch.zeros(len(encoded), dtype=torch.long))


def _stores(
    workspace: Workspace, base: BaseModel, settings: AdaptationSettings, kind: Kind, opened: list[str]
) -> "Stores":
    """Opens stores, and adds the key of each to those that were `opened`. A team's state has what others kept."""

    @contextmanager
    def open_store(point: "FreezePoint") -> "Iterator[FeatureStore]":
        from graftline.frozen.eviction import open_feature_store
        from graftline.frozen.keys import store_key
        from graftline.frozen.store import write_use

        key = store_key(_kept_under(base, point, settings, kind))
        opened.append(key)
        folder, limit_bytes = workspace.features / key, round(settings.feature_gigabytes * 1e9)
        if (state := shared_state()) is not None:
            new = partial(write_use, turn=0, reserved_bytes=0)
            bring_store(state, key, folder, limit_bytes=limit_bytes, prepare=new)
        precision = settings.feature_precision
        with open_feature_store(
            workspace.features, key, precision=precision, limit_bytes=limit_bytes, say=logger.info
        ) as store:
            yield store
            _share_stores(workspace, [key])

    return open_store


def _share_unfinished(workspace: Workspace, folder: Path, opened: Sequence[str]) -> None:
    """Bring to a team's state what another machine needs to go on from the checkpoint that was just written."""
    keep_unfinished(folder)
    _share_stores(workspace, opened)


def _share_stores(workspace: Workspace, keys: Sequence[str]) -> None:
    from graftline.frozen.store import INDEX, VALUES

    if (state := shared_state()) is not None:
        for key in keys:
            send_store(state, key, workspace.features / key, (VALUES, INDEX))


def _with_temperatures(
    outputs: "Outputs",
    model: "Classifier",
    adapted: "Adapted",
    validation: "InputRows",
    data: ValidatedData,
    batch_size: int,
) -> "Outputs":
    """The outputs with the divisor of each target's, fitted on answers for the validation rows that have the target.

    They are those of the model before it learned from these rows.
    """
    from graftline.models.outputs import parts_of
    from graftline.models.several import learned_of
    from graftline.training.validation_score import predict

    held = adapted.validation_outputs
    if held is None:
        # In full precision and through the whole model: as it will be served.
        held = predict(model, validation, batch_size=batch_size)
    fitted = []
    each = [data, *data.targets.values()]
    for part, learned, one in zip(parts_of(outputs), learned_of(outputs, validation.targets), each, strict=True):
        own, targets = learned.of(held)[:, part.columns], split_targets(one, "validation")
        temperature = TASKS[one.task].scores.temperature(own.double().numpy(), targets.numpy())
        of = f"{part.name}: " if part.name else ""
        logger.info("%stemperature %.3f, fitted on %d validation rows", of, temperature, len(own))
        fitted.append(temperature)
    further = tuple(
        replace(one, outputs=replace(one.outputs, temperature=temperature))
        for one, temperature in zip(outputs.further, fitted[1:], strict=True)
    )
    return replace(outputs, temperature=fitted[0], further=further)


def _kept_under(base: BaseModel, point: "FreezePoint", settings: AdaptationSettings, kind: Kind) -> "KeptUnder":
    from importlib.metadata import version

    from graftline.frozen.keys import LIBRARIES, KeptUnder

    return KeptUnder(
        base_digest=base.digest,
        first_trainable=point.first_trainable,
        threads=thread_count(settings.threads),
        device=settings.device,
        precision=settings.precision,
        feature_precision=settings.feature_precision,
        runtime=settings.runtime,
        versions=(*(version(name) for name in (*LIBRARIES, *libraries_for(settings, kind))), *_decoded_in(kind)),
    )


def _decoded_in(kind: Kind) -> tuple[str, ...]:
    return () if kind == "text" else (f"decoding {DECODING_VERSION}",)


def libraries_for(settings: AdaptationSettings, kind: Kind) -> tuple[str, ...]:
    """The other libraries that a result depends on. Whoever asks for OpenVINO and lacks it is told where it is used."""
    is_there = settings.runtime == "openvino" and find_spec("openvino") is not None
    return (*READING_LIBRARIES[kind], "openvino") if is_there else READING_LIBRARIES[kind]


class _Teller:
    """Tells of the frozen part and of the training, and at its beginning how long that will take."""

    def __init__(self, settings: AdaptationSettings, bar: ProgressBar, *, rows: int) -> None:
        self._settings, self._rows = settings, rows
        self._frozen, self._training = Wait("frozen part"), Wait("training", unit="steps", bar=bar)
        self._frozen_began: float | None = None
        self._frozen_rate: float | None = None
        self._began: tuple[float, int] | None = None
        self._announced = False

    def passed(self, done: int, total: int) -> None:
        """So many rows have passed the frozen part."""
        now = time.monotonic()
        if self._frozen_began is None:  # with the first batch, which sets things up and is not measured
            self._frozen_began, self._first = now, done
        elif done > self._first:
            self._frozen_rate = (done - self._first) / (now - self._frozen_began)
        self._frozen.tell(done, total)

    def progress(self, progress: "Progress") -> None:
        """A step of the training was taken."""
        self._announce(progress)
        self._training.tell(progress.step, progress.steps, f", epoch {progress.epoch}, loss {progress.loss:.3f}")

    def _announce(self, progress: "Progress") -> None:
        """Once the steps of a few seconds were measured: the expected time, and the faster choice beside it."""
        now = time.monotonic()
        if self._began is None or progress.step <= self._began[1]:  # the first step sets things up
            self._began = (now, progress.step)
            return
        seconds, steps = now - self._began[0], progress.step - self._began[1]
        if self._announced or seconds < MEASURED_SECONDS:
            return
        self._announced = True
        left = (progress.steps - progress.step) * seconds / steps
        if left >= WORTH_SAYING_SECONDS:
            logger.info("training: about %s%s", duration(left), self._faster(left, steps / seconds))

    def _faster(self, left: float, steps_per_second: float) -> str:
        """The time that the fastest strategy would take, by the rate of rows through the base model in this run."""
        settings = self._settings
        rate = self._frozen_rate
        if rate is None and settings.freeze_until is None:  # the whole model runs in every step
            rate = STEP_IN_PASSES * steps_per_second * settings.batch_size * settings.gradient_accumulation
        if settings.strategy == FASTEST or rate is None:
            return ""
        seconds = self._rows / rate
        return f"; adaptation.strategy={FASTEST} would take about {duration(seconds)}" if seconds < left else ""


def _tell_epoch(epoch: "Epoch", data: ValidatedData, finished_epoch: Callable[[dict[str, float]], None]) -> None:
    scoring = TASKS[data.task].scores.scoring
    score, loss = score_of(data), "loss" if data.further else scoring.loss
    logger.info(
        "epoch %d: validation %s %.4f, %s %.4f",
        epoch.number,
        spelt(score),
        epoch.validation_score,
        loss,
        epoch.validation_loss,
    )
    finished_epoch(numbers_of(epoch, score))


def learning_modules(data: ValidatedData) -> tuple[str, ...]:
    """The modules of the targets' tasks that a model learns by."""
    tasks = [TASKS[one.task] for one in (data, *data.targets.values())]
    found = {module for task in tasks for module in task.modules("outputs", "objective_for")}
    return (*sorted(found), *sorted({task.scores.temperature.__module__ for task in tasks}))


def score_of(data: ValidatedData) -> str:
    """The score by which the best epoch is chosen: the target's main one, or the mean of those of all targets."""
    return MEAN_OF_TARGETS if data.further else TASKS[data.task].scores.scoring.primary


def numbers_of(epoch: "Epoch", score: str) -> dict[str, float]:
    """An epoch's numbers with its score under the score's own name, as MLflow and `reports/` show them."""
    numbers = asdict(epoch)
    reached = numbers.pop("validation_score")
    return numbers | {f"validation_{score}": reached}
