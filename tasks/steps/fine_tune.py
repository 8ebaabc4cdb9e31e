"""Step 3, fine_tune: freeze, run the frozen part once per row, train the rest, prove that the frozen part is still."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.digests import tensors_sha256
from graftline.files import write_json
from graftline.pages.making import kept
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.by_value import by_value
from graftline.settings.words import with_partners
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.progress import ProgressBar
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.adapting import CHECKPOINTS, MODEL, AdaptedModel, adapt_base
from graftline.tasks.steps.answer_rule import rule_in_words
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.learned_targets import learning_modules, score_of
from graftline.tasks.steps.mended_rows import Mending
from graftline.tasks.steps.pretraining import PretrainedBase, pretrained_base
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.teacher import taught_by
from graftline.tasks.steps.training_progress import numbers_of
from graftline.tasks.tracking.server import TrackedRun, log_epoch
from graftline.tasks.workspace import Workspace

STEP, SUMMARY = "fine_tune", "training.json"
LIBRARIES = ("torch", "transformers", "safetensors", "numpy", "peft")

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
    """The frozen part, in words."""
    kept_epochs: tuple[int, ...]
    """Whose weights the model has: of one epoch, or the mean of several."""
    epochs: tuple[dict[str, float], ...]
    between: tuple[dict[str, float], ...]
    """The means of the weights before and after fine-tuning that were tried, the one that was taken first."""
    temperature: float
    """Divides the model's outputs; fitted on the validation rows, before the model learns from them, too."""
    threads: int
    """The number of processor threads, on which the last bits of all answers depend."""
    seconds: float
    again_from: int = 0
    """So many labelled rows, all, were learned from again in the end; 0: they were not."""
    mended: str | None = None
    """What was done against differences between groups, in words."""
    pretrained: PretrainedBase | None = None
    """The base model that it came from, if that is not the locked one but what continued pre-training made of it."""
    domain: str = ""
    """The way into the target domain, in words, if there is one."""
    answers: str | None = None
    """Which answers it gives from its probabilities, in words, if not the usual ones."""


@step("3 fine_tune")
def fine_tune(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    run: TrackedRun | None = None,
    mending: Mending | None = None,
    domain: TargetDomain | None = None,
    costs: Sequence[str] = (),
) -> Checkpoint:
    """Train on the accepted training rows and keep the epoch that does best on the validation rows.

    A head that is solved and nothing else learns from both, once the validation rows have chosen its penalty. Where the
    settings ask for it, the base model's pre-training goes on first, on the texts of the target `domain`, too. Its rows
    are learned from in the way that the settings name, or as a teacher answers them, if any are given.

    It answers by the rule that the settings name, with the `costs` of `evaluation.costs`.

    A killed training goes on from its last checkpoint and ends with the same weights. Each epoch's numbers go to `run`.
    Raises: SettingsError for a freeze point that does not exist; GraftlineError if a frozen tensor changed.
    """
    pretrained = pretrained_base(workspace, settings, data, base, domain)
    start = pretrained.model if pretrained else base
    settings, way = into_domain(settings, domain)
    depends_on: dict[str, JsonValue] = {
        "data": data.sha256,
        "score": score_of(data),
        "base_model": start.digest,
        "settings": by_value(settings, "adaptation", without=["threads", "feature_gigabytes"]),
        "threads": thread_count(settings.threads),
        **({} if mending is None else {"mending": mending.as_json()}),
        **({"target_domain": way.rows.sha256} if way else {}),
        **taught_by(workspace, settings),
        **({"costs": list(costs)} if settings.answers == "least_cost" else {}),
    }

    def log(epoch: dict[str, float]) -> None:
        if run is not None and not run.finished:
            log_epoch(run.run_id, epoch)

    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        # Words that take each other's place are code in the settings' room.
        code=(__name__, with_partners.__module__, *learning_modules(data)),
        libraries=(*LIBRARIES, *libraries_for(settings, data.kind)),
        build=lambda folder: _build(folder, workspace, settings, data, start, way, log, mending, costs),
        resumable=True,
    )
    checkpoint = _record(folder, thread_count(settings.threads), pretrained)
    if folder.outcome == "reused":
        for epoch in checkpoint.epochs:
            log(epoch)
    return checkpoint


def into_domain(
    settings: AdaptationSettings, domain: TargetDomain | None
) -> tuple[AdaptationSettings, TargetDomain | None]:
    """The settings, and the rows of a target domain, as a training takes them; None where it makes nothing of these."""
    way = domain if settings.domain != "none" or settings.teacher is not None else None
    return settings if way else settings.model_copy(update={"domain": "none"}), way


def _build(
    folder: Path,
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    domain: TargetDomain | None,
    finished_epoch: Callable[[dict[str, float]], None],
    mending: Mending | None,
    costs: Sequence[str],
) -> None:
    from graftline.models.folders import save_classifier

    began = time.monotonic()
    bar = ProgressBar("training", "fine_tune: share of the training steps that are done")
    made = adapt_base(
        workspace,
        settings,
        data,
        base,
        folder=folder / CHECKPOINTS,
        bar=bar,
        finished_epoch=finished_epoch,
        mending=mending,
        domain=domain,
        costs=costs,
    )
    logger.info("frozen: %s", made.adapted.frozen)
    bar.show(1.0)
    # Before it is saved: adapters that are not merged are taken out of the model for that.
    weights_sha256 = tensors_sha256(dict(made.model.state_dict()))
    save_classifier(made.model, made.preprocessor, folder / MODEL, base=base.path)
    words = rule_in_words(made.model.outputs, costs)
    summary = _summary(made, weights_sha256, data, round(time.monotonic() - began, 1))
    write_json(folder / SUMMARY, {**summary, **({"answers": words} if words else {})})
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # a solved head needs none


def _summary(made: AdaptedModel, weights_sha256: str, data: ValidatedData, seconds: float) -> dict[str, JsonValue]:
    adapted = made.adapted
    return {
        "weights_sha256": weights_sha256,
        "temperature": made.model.outputs.temperature,
        "frozen_sha256": adapted.frozen_sha256,
        "frozen": adapted.frozen,
        "kept_epochs": list(adapted.members),
        "learning_rate": adapted.learning_rate,
        "head_penalty": adapted.head_penalty,
        **({"between": cast("JsonValue", [asdict(one) for one in adapted.between])} if adapted.between else {}),
        "epochs": [cast("JsonValue", numbers_of(epoch, score_of(data))) for epoch in adapted.epochs],
        "seconds": seconds,
        **({"again_from": adapted.again_from} if adapted.again_from else {}),
        **({} if made.mended is None else {"mended": made.mended}),
        **({"domain": adapted.domain} if adapted.domain else {}),
    }


def _record(folder: StepFolder, threads: int, pretrained: PretrainedBase | None) -> Checkpoint:
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    kept_epochs = tuple(cast("list[int]", summary["kept_epochs"]))
    between = tuple(cast("list[dict[str, float]]", summary.get("between", [])))
    again_from = cast("int", summary.get("again_from", 0))
    logger.info(
        "%s: %s of %d epochs (%s)",
        STEP,
        kept(kept_epochs, between, again_from),
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
        between=between,
        temperature=cast("float", summary["temperature"]),
        threads=threads,
        seconds=cast("float", summary["seconds"]),
        again_from=again_from,
        mended=cast("str | None", summary.get("mended")),
        pretrained=pretrained,
        domain=cast("str", summary.get("domain", "")),
        answers=cast("str | None", summary.get("answers")),
    )
