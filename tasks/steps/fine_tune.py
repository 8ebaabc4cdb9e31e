"""Step 3, fine_tune: freeze, run the frozen part once per row, train the rest, prove that the frozen part is still."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from graftline.digests import json_sha256, tensors_sha256
from graftline.evaluation.scoring import SCORING, spelt
from graftline.files import write_json
from graftline.pages.report import kept
from graftline.settings import Kind, Task
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import LIBRARIES_OF, raw_inputs, split_targets
from graftline.tasks.progress import ProgressBar
from graftline.tasks.step_folders import StepFolder, Workspace, produce
from graftline.tasks.steps.fetch_model import BaseModel, verify_base_model
from graftline.tasks.steps.validate_data import ValidatedData
from graftline.tasks.tracking.server import TrackedRun, log_epoch

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.freezing import FreezePoint
    from graftline.frozen.rows import InputRows
    from graftline.models.classifier import Classifier
    from graftline.models.preprocessing import Preprocessor
    from graftline.training.plan import Epoch, Progress
    from graftline.training.strategies import Adapted

STEP = "fine_tune"
LIBRARIES = ("torch", "transformers", "safetensors", "numpy", "peft")
# MLflow finds the checkpoint in the registered model under the folder's own name.
MODEL, SUMMARY, CHECKPOINTS = "model", "training.json", "checkpoints"
# Seconds between two lines about progress: often enough to see it live, seldom enough to read.
SAY_SECONDS = 10.0

logger = logging.getLogger("graftline.fine_tune")


@dataclass(frozen=True)
class Checkpoint:
    """An adapted model and how it came about."""

    folder: StepFolder
    model: Path
    weights_sha256: str
    frozen_sha256: str
    """Digest of all frozen parameters and buffers, the same before and after training."""
    frozen: str
    """What was frozen, in words."""
    kept_epochs: tuple[int, ...]
    """Whose weights the model has: of one epoch, or the mean of several."""
    epochs: tuple[dict[str, float], ...]
    temperature: float
    """Divides the model's outputs; fitted on the validation rows, before a solved head learns from them, too."""
    seconds: float


@dataclass(frozen=True)
class Made:
    """An adapted model in memory."""

    model: "Classifier"
    preprocessor: "Preprocessor"
    adapted: "Adapted"


@task(name="3 fine_tune", persist_result=False, cache_policy=NO_CACHE)
def fine_tune(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    run: TrackedRun | None = None,
) -> Checkpoint:
    """Train on the accepted training rows and keep the epoch that does best on the validation rows.

    A head that is solved and nothing else learns from both, once the validation rows have chosen its penalty.

    A killed training goes on from its last checkpoint and ends with the same weights. Each epoch's numbers go to `run`.
    Raises: SettingsError for a freeze point that does not exist; GraftlineError if a frozen tensor changed.
    """
    depends_on: dict[str, JsonValue] = {
        "data": data.folder.key,
        "base_model": base.digest,
        "settings": settings.model_dump(mode="json", exclude={"threads"}),
        "threads": thread_count(settings),
    }

    def log(epoch: dict[str, float]) -> None:
        if run is not None and not run.finished:
            log_epoch(run.run_id, epoch)

    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        libraries=(*LIBRARIES, *_libraries(settings, data.kind)),
        build=lambda folder: _build(folder, workspace, settings, data, base, log),
        resumable=True,
    )
    checkpoint = _record(folder)
    if folder.outcome == "reused":
        for epoch in checkpoint.epochs:
            log(epoch)
    return checkpoint


def thread_count(settings: AdaptationSettings) -> int:
    """How many processor threads to compute with; the last bits of all results depend on it."""
    return settings.threads or os.cpu_count() or 1


def _build(
    folder: Path,
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    finished_epoch: Callable[[dict[str, float]], None],
) -> None:
    from graftline.models.folders import save_classifier

    began = time.monotonic()
    bar = ProgressBar("training", "fine_tune: share of the training steps that are done")
    made = adapt_base(
        workspace, settings, data, base, folder=folder / CHECKPOINTS, bar=bar, finished_epoch=finished_epoch
    )
    logger.info("frozen: %s", made.adapted.frozen)
    bar.show(1.0)
    # Before it is saved: adapters that are not merged are taken out of the model for that.
    weights_sha256 = tensors_sha256(dict(made.model.state_dict()))
    save_classifier(made.model, made.preprocessor, folder / MODEL)
    write_json(folder / SUMMARY, _summary(made, weights_sha256, data, round(time.monotonic() - began, 1)))
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # a solved head needs none


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
) -> Made:
    """Adapt the base model, or its architecture with random weights, to the accepted training rows.

    Checkpoints go to `folder`; who finds some there goes on from them.
    """
    from graftline.frozen.eviction import open_feature_store
    from graftline.frozen.rows import InputRows
    from graftline.models.folders import load_base, load_preprocessor
    from graftline.models.outputs import outputs_for
    from graftline.models.preprocessing import Reading
    from graftline.training.runs import Listener
    from graftline.training.strategies import Adaptation

    use_threads(settings)
    verify_base_model(base)
    reading = Reading(data.kind, settings.max_tokens, settings.max_seconds)
    preprocessor = load_preprocessor(base.path, reading)
    targets = {split: split_targets(data, split) for split in ("train", "validation")}
    outputs = outputs_for(data.task, data.labels, targets["train"])
    model = load_base(
        base.path, outputs, reading=reading, seed=settings.seed, head=settings.head,
        block_pattern=settings.block_pattern, scratch=scratch,
    )  # fmt: skip

    def rows_of(split: str) -> InputRows:
        raws = raw_inputs(workspace, data, split)
        return InputRows(preprocessor, preprocessor.encode(raws), outputs.as_learned(targets[split]))

    rows = {split: rows_of(split) for split in targets}
    adapted = Adaptation(
        model=model,
        rows=rows,
        settings=settings,
        stores=lambda point: open_feature_store(
            workspace.artifacts / "features",
            _store_key(base, point, settings, data.kind),
            precision=settings.feature_precision,
            limit_bytes=round(settings.feature_gigabytes * 1e9),
            say=logger.info,
        ),
        folder=folder,
        listener=Listener(_teller(bar), lambda epoch: _tell_epoch(epoch, data.task, finished_epoch), logger.info),
    ).run()
    model.to("cpu")
    temperature = _temperature(model, adapted, rows["validation"], targets["validation"], settings.batch_size)
    model.outputs = replace(outputs, temperature=temperature)
    return Made(model, preprocessor, adapted)


def _temperature(
    model: "Classifier", adapted: "Adapted", validation: "InputRows", targets: "Tensor", batch_size: int
) -> float:
    """What divides the model's outputs, fitted on the validation rows as it answered before it learnt from them."""
    from graftline.evaluation.calibration import fit_temperature
    from graftline.training.validation_score import predict

    held = adapted.validation_outputs
    if held is None:
        # In full precision and through the whole model: as it will be served.
        held = predict(model, validation, batch_size=batch_size)
    temperature = fit_temperature(model.outputs.task, held.double().numpy(), targets.numpy())
    logger.info("temperature %.3f, fitted on %d validation rows", temperature, len(held))
    return temperature


def _summary(made: Made, weights_sha256: str, data: ValidatedData, seconds: float) -> JsonValue:
    adapted = made.adapted
    return {
        "weights_sha256": weights_sha256,
        "temperature": made.model.outputs.temperature,
        "frozen_sha256": adapted.frozen_sha256,
        "frozen": adapted.frozen,
        "kept_epochs": list(adapted.members),
        "learning_rate": adapted.learning_rate,
        "head_penalty": adapted.head_penalty,
        "epochs": [cast("JsonValue", _numbers(epoch, data.task)) for epoch in adapted.epochs],
        "seconds": seconds,
    }


def use_threads(settings: AdaptationSettings) -> None:
    """Fix what would let two equal runs differ: the number of threads, and kernels without a fixed order."""
    import torch

    torch.set_num_threads(thread_count(settings))
    torch.use_deterministic_algorithms(True)


def _store_key(base: BaseModel, point: "FreezePoint", settings: AdaptationSettings, kind: Kind) -> str:
    """What the frozen part's output depends on, apart from the row."""
    from importlib.metadata import version

    from graftline.frozen.rows import FROZEN_PART_VERSION

    libraries = [version(name) for name in ("torch", "transformers", "numpy", *_libraries(settings, kind))]
    computed = [
        thread_count(settings), settings.device, settings.precision, settings.feature_precision, settings.runtime
    ]  # fmt: skip
    parts: list[JsonValue] = [FROZEN_PART_VERSION, base.digest, point.first_trainable, *computed, *libraries]
    return json_sha256(parts)[:32]


def _libraries(settings: AdaptationSettings, kind: Kind) -> tuple[str, ...]:
    """What else the result depends on. Whoever asks for OpenVINO and lacks it is told so where it is used."""
    is_there = settings.runtime == "openvino" and find_spec("openvino") is not None
    return (*LIBRARIES_OF[kind], "openvino") if is_there else LIBRARIES_OF[kind]


def _teller(bar: ProgressBar) -> Callable[["Progress"], None]:
    """Tells of the progress now and then."""
    said = [time.monotonic()]

    def report(progress: "Progress") -> None:
        if time.monotonic() - said[0] >= SAY_SECONDS:
            said[0] = time.monotonic()
            bar.show(progress.step / progress.steps)
            logger.info(
                "epoch %d, step %d of %d, loss %.3f, %.0f rows/s",
                progress.epoch, progress.step, progress.steps, progress.loss, progress.rows_per_second,
            )  # fmt: skip

    return report


def _tell_epoch(epoch: "Epoch", task: Task, finished_epoch: Callable[[dict[str, float]], None]) -> None:
    logger.info(
        "epoch %d: validation %s %.4f, %s %.4f",
        epoch.number, spelt(SCORING[task].primary), epoch.validation_score, SCORING[task].loss, epoch.validation_loss,
    )  # fmt: skip
    finished_epoch(_numbers(epoch, task))


def _numbers(epoch: "Epoch", task: Task) -> dict[str, float]:
    """An epoch's numbers with its score under the score's own name, as MLflow and `reports/` show them."""
    numbers = asdict(epoch)
    score = numbers.pop("validation_score")
    return numbers | {f"validation_{SCORING[task].primary}": score}


def _record(folder: StepFolder) -> Checkpoint:
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    kept_epochs = tuple(cast("list[int]", summary["kept_epochs"]))
    logger.info(
        "%s: %s of %d epochs (%s)",
        STEP,
        kept(kept_epochs),
        len(cast("list[object]", summary["epochs"])),
        folder.outcome,
    )
    return Checkpoint(
        folder=folder,
        model=folder.path / MODEL,
        weights_sha256=cast("str", summary["weights_sha256"]),
        frozen_sha256=cast("str", summary["frozen_sha256"]),
        frozen=cast("str", summary["frozen"]),
        kept_epochs=kept_epochs,
        epochs=tuple(cast("list[dict[str, float]]", summary["epochs"])),
        temperature=cast("float", summary["temperature"]),
        seconds=cast("float", summary["seconds"]),
    )
