"""Before step 3, source_task: labelled rows of what the base model was made for, and what it knows of them."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count, use_threads
from graftline.data.splitting import SPLITS
from graftline.digests import tensors_sha256
from graftline.files import write_json
from graftline.settings import DataSettings, Settings
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, raw_inputs, split_targets
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.other_rows import other_rows
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.behaviour.retention import Retention
    from graftline.evaluation.metrics import Floats
    from graftline.models.predictor import Predictor

STEP = "source_task"
LIBRARIES = ("torch", "transformers", "safetensors", "numpy")
SUMMARY, PREDICTIONS, MODEL = "source_task.json", "predictions.npy", "model"
NAME = "evaluation.probe"
# Many rows judge: their number decides how small a loss can be shown, and a linear head soon has learned enough.
JUDGED_SHARE, VALIDATION_SHARE = 0.45, 0.15

logger = logging.getLogger("graftline.source_task")


@dataclass(frozen=True)
class SourceTask:
    """The probe rows, and what a linear head reads from the frozen base model's vectors of them."""

    rows: ValidatedData
    folder: StepFolder

    def predictions(self) -> "Floats":
        """For the judged rows: (rows, labels)."""
        import numpy as np

        return cast("Floats", np.load(self.folder.path / PREDICTIONS, allow_pickle=False))

    @property
    def vectors_sha256(self) -> str:
        """The digest of the vectors of all probe rows."""
        return str(cast("dict[str, JsonValue]", self.folder.read_json(SUMMARY))["vectors_sha256"])


@step("source_task")
def source_task(workspace: Workspace, settings: Settings, base: BaseModel) -> SourceTask | None:
    """Validate the probe rows and probe the frozen base model, once for both; None if the settings name no rows.

    Raises: SettingsError if their path leaves the project folder; DataRefusedError if they are not fit to be learned
    from, as `validate_data` judges it.
    """
    probe = probe_settings(settings)
    if probe is None:
        return None
    columns = {f"name it in {NAME}_input": probe.input, f"name it in {NAME}_target": probe.target}
    rows = other_rows(workspace, probe, columns, name=NAME)
    adaptation = settings.adaptation
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "rows": rows.sha256,
            "base_model": base.digest,
            "max_tokens": adaptation.max_tokens,
            "max_seconds": adaptation.max_seconds,
            "threads": thread_count(adaptation.threads),
        },
        code=(__name__, *TASKS[rows.task].modules("outputs", "objective_for", "scores")),
        libraries=(*LIBRARIES, *READING_LIBRARIES[rows.kind]),
        build=lambda folder: _build(folder, workspace, settings, rows, base),
    )
    logger.info("%s: %s rows judge what the base model knows (%s)", STEP, rows.split_rows["test"], folder.outcome)
    return SourceTask(rows, folder)


def probe_settings(settings: Settings) -> DataSettings | None:
    """How the probe rows are read and checked: as the data are, but with a split, columns and labels of their own."""
    data, evaluation = settings.data, settings.evaluation
    if evaluation.probe is None:
        return None
    own: dict[str, object] = {
        "path": evaluation.probe,
        "task": "single_label",
        "input": evaluation.probe_input or data.input,
        "target": evaluation.probe_target or data.target,
        "labels": [],
        "targets": [],
        "id": None,
        "group": None,
        "slices": [],
        "test_share": JUDGED_SHARE,
        "validation_share": VALIDATION_SHARE,
        # Nothing is trained by it: a source task of a thousand labels is as good as one of two.
        "min_class_share": 0.0,
        "allow_modified": False,
    }
    return DataSettings.model_validate({**data.model_dump(), **own})


def retention_of(
    workspace: Workspace, settings: Settings, predictor: "Predictor", source: SourceTask | None
) -> "Retention | None":
    """The adapted model's knowledge of the source task, beside that of the base model."""
    from graftline.behaviour.retention import retention

    if source is None:
        return None
    answers, vectors_sha256 = _probe(workspace, predictor, source.rows)
    sides = source.rows.split_rows
    return retention(
        source.predictions(),
        answers,
        split_targets(source.rows, "test").numpy(),
        learned_from=sides["train"] + sides["validation"],
        unchanged=vectors_sha256 == source.vectors_sha256,
        resamples=settings.evaluation.bootstrap,
        seed=settings.evaluation.seed,
    )


def _build(folder: Path, workspace: Workspace, settings: Settings, rows: ValidatedData, base: BaseModel) -> None:
    """By the same code as the adapted model's, so that vectors which adapting did not change are the same bits."""
    import numpy as np

    from graftline.answers.predicting import predictor_of
    from graftline.models.folders import load_base, load_preprocessor, save_classifier
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Reading

    logger.info("probing the frozen base model on %s", NAME)
    use_threads(settings.adaptation.threads)
    verify_base_model(base)
    reading = Reading(rows.kind, settings.adaptation.max_tokens, settings.adaptation.max_seconds, rows.sample_bits)
    model = load_base(base.path, Outputs("single_label", rows.labels), reading=reading, seed=0)
    save_classifier(model, load_preprocessor(base.path, reading), folder / MODEL)
    answers, vectors_sha256 = _probe(workspace, predictor_of(folder / MODEL), rows)
    shutil.rmtree(folder / MODEL)
    np.save(folder / PREDICTIONS, answers)
    write_json(folder / SUMMARY, {"vectors_sha256": vectors_sha256})


def _probe(workspace: Workspace, predictor: "Predictor", rows: ValidatedData) -> "tuple[Floats, str]":
    """The answers of a linear head for the judged rows, and the digest of the vectors of all."""
    from graftline.behaviour.probing import probe_answers

    vectors = {split: predictor.features(raw_inputs(workspace, rows, split)).vectors for split in SPLITS}
    targets = {split: split_targets(rows, split) for split in SPLITS}
    digest = tensors_sha256({f"{split}": of_split for split, of_split in vectors.items()})
    return probe_answers(vectors, targets, labels=len(rows.labels)), digest
