"""In front of step 3, pretraining: the base model goes on learning the language of the rows' texts, without labels."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.base_models.lock import describe_folder
from graftline.compute.threads import thread_count, use_threads
from graftline.digests import json_sha256
from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs
from graftline.tasks.progress import ProgressBar, Wait
from graftline.tasks.state.folders import keep_unfinished
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.adapting import CHECKPOINTS
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.training.pretraining import Pretrained
    from graftline.training.progress import Epoch, Progress

STEP, SUMMARY, MODEL = "pretraining", "pretraining.json", "model"
LIBRARIES = ("torch", "transformers", "safetensors", "numpy")
# All that decides what comes out of it, so that trainings that differ in anything else share it.
DECIDING = frozenset(
    {
        "pretraining_epochs", "pretraining_learning_rate", "batch_size", "gradient_accumulation", "max_tokens",
        "precision", "device", "seed",
    }
)  # fmt: skip
# What transformers writes of a backbone; all else of a base model's folder is taken over.
WRITTEN_ANEW = ("config.json", "model*.safetensors*")

logger = logging.getLogger("graftline.pretraining")


@dataclass(frozen=True)
class PretrainedBase:
    """A base model that went on with its pre-training, and how that went."""

    model: BaseModel
    """In the place of the one it came from, with a digest of its own and the same address and licence."""
    folder: StepFolder
    modelling: str
    """What it learned to predict: masked tokens, or the next one (causal)."""
    texts: int
    loss_before: float
    """The loss of a token of texts that were held back, before it learned anything."""
    loss: float
    """And afterwards."""
    epochs: int

    @property
    def in_words(self) -> str:
        """What was done and came of it, for a reader of the report."""
        predicted = "masked tokens" if self.modelling == "masked" else "the next token"
        return (
            f"{self.epochs} epochs of predicting {predicted} in {self.texts:,} texts without their labels; the loss of"
            f" a token of held-back texts went from {self.loss_before:.3f} to {self.loss:.3f}; sha256 of the base model"
            f" that came out {self.model.digest}"
        )


def pretrained_base(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    domain: TargetDomain | None = None,
) -> PretrainedBase | None:
    """The base model after the continued pre-training; None if the settings ask for none.

    It learns from the texts of the training rows and, if there are any, of the target domain's unlabelled rows. Once
    for all trainings that need the same. A killed one goes on from its last checkpoint and ends with the same weights.
    Raises: SettingsError if the base model is no language model, or there are too few texts.
    """
    if not settings.pretraining_epochs:
        return None
    texts: list[str] = [*raw_inputs(workspace, data, "train"), *(domain.inputs(workspace) if domain else [])]
    deciding = by_value(settings, "adaptation", without=set(AdaptationSettings.model_fields) - DECIDING)
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "base_model": base.digest,
            "texts": json_sha256(list[JsonValue](texts)),
            "settings": deciding,
            "threads": thread_count(settings.threads),
        },
        code=(__name__,),
        libraries=LIBRARIES,
        build=lambda folder: _build(folder, settings, texts, base),
        resumable=True,
    )
    return _record(folder, base)


def starting_base(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    domain: TargetDomain | None = None,
) -> BaseModel:
    """The base model that a training with these settings begins with. Raises: what `pretrained_base` raises."""
    pretrained = pretrained_base(workspace, settings, data, base, domain)
    return pretrained.model if pretrained else base


def _build(folder: Path, settings: AdaptationSettings, texts: Sequence[str], base: BaseModel) -> None:
    from graftline.models.folders import keeps_adapters
    from graftline.models.language_models import load_language_model
    from graftline.models.preprocessing import Reading
    from graftline.models.text_models import TEXT, TextPreprocessor
    from graftline.training.pretraining import Pretraining
    from graftline.training.progress import Listener

    began = time.monotonic()
    use_threads(settings.threads)
    verify_base_model(base)
    if keeps_adapters(base.path):
        raise SettingsError(
            f"adaptation.pretraining_epochs {settings.pretraining_epochs}: {base.uri} keeps low-rank adapters beside"
            " its weights, which fit no others; set it to 0, or adapt that model again with adaptation.lora_merge true"
        )
    reading = Reading("text", settings.max_tokens)
    loaded = load_language_model(base.path, seed=settings.seed)
    TEXT.check(loaded.model.backbone, base.path, reading)
    if loaded.new_head:
        logger.info("%s: the base model comes without its language model's head; a new one learns with it", STEP)
    wait = Wait(
        "pre-training", unit="steps", bar=ProgressBar("pretraining", "pretraining: share of the steps that are done")
    )
    done = Pretraining(
        loaded=loaded,
        preprocessor=cast("TextPreprocessor", TEXT.preprocessor(base.path, reading)),
        texts=texts,
        settings=settings,
        folder=folder / CHECKPOINTS,
        listener=Listener(partial(_tell, wait), _tell_epoch, logger.info, saved=partial(keep_unfinished, folder)),
    ).run()
    shutil.rmtree(folder / MODEL, ignore_errors=True)  # a kill may have left half of it
    shutil.copytree(base.path, folder / MODEL, ignore=shutil.ignore_patterns(*WRITTEN_ANEW))
    TEXT.save(loaded.model.backbone.to("cpu"), folder / MODEL)
    write_json(folder / SUMMARY, _summary(done, loaded.modelling, round(time.monotonic() - began, 1)))
    shutil.rmtree(folder / CHECKPOINTS)


def _tell(wait: Wait, progress: "Progress") -> None:
    wait.tell(progress.step, progress.steps, f", epoch {progress.epoch}, loss {progress.loss:.3f}")


def _tell_epoch(epoch: "Epoch") -> None:
    logger.info("%s epoch %d: loss of a held-back text's token %.4f", STEP, epoch.number, epoch.validation_loss)


def _summary(done: "Pretrained", modelling: str, seconds: float) -> JsonValue:
    return {
        "modelling": modelling,
        "texts": done.texts,
        "held_texts": done.held,
        "loss_before": done.loss_before,
        "loss": done.loss,
        "epochs": [
            {"number": one.number, "train_loss": one.train_loss, "loss": one.validation_loss} for one in done.epochs
        ],
        "seconds": seconds,
    }


def _record(folder: StepFolder, base: BaseModel) -> PretrainedBase:
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    path = folder.path / MODEL
    described = describe_folder(path, base.uri, revision=base.revision, licence=base.licence, versions={})
    model = BaseModel(
        base.uri,
        base.revision,
        described.digest,
        path,
        base.licence,
        described.bytes,
        files=described.files,
        outcome=folder.outcome,
    )
    done = PretrainedBase(
        model=model,
        folder=folder,
        modelling=cast("str", summary["modelling"]),
        texts=cast("int", summary["texts"]),
        loss_before=cast("float", summary["loss_before"]),
        loss=cast("float", summary["loss"]),
        epochs=len(cast("list[object]", summary["epochs"])),
    )
    logger.info(
        "%s: %d texts, loss of a held-back text's token %.4f, before %.4f; the base model of the training is %s (%s)",
        STEP, done.texts, done.loss, done.loss_before, model.digest[:12], folder.outcome,
    )  # fmt: skip
    return done
