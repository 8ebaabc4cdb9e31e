"""Between steps 2 and 3, the teacher: a registered model whose answers are learned beside the labels."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count, use_threads
from graftline.data.splitting import Side
from graftline.errors import SettingsError
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.locking import locked_model
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, raw_inputs
from graftline.tasks.progress import Wait
from graftline.tasks.step import step
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.fetch_model import RETRY_DELAYS_SECONDS, fetch_model, is_unavailable
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.evaluation.metrics import Floats
    from graftline.models.outputs import Outputs
    from graftline.models.predictor import Predictor
    from graftline.models.preprocessing import Raw

STEP, ANSWERS = "teacher", "outputs.safetensors"
# Under which name, beside those of the sides, the answers to rows without labels lie.
UNLABELLED = "unlabelled"
NAME = "adaptation.teacher"
LIBRARIES = ("torch", "transformers", "safetensors", "numpy")
# Those that a model learns from, and those that choose for it.
SIDES: tuple[Side, ...] = ("train", "validation")

logger = logging.getLogger("graftline.teacher")


def teacher_sha256(workspace: Workspace, settings: AdaptationSettings) -> str | None:
    """The digest of the teacher as it is locked; None without one. Raises: BaseModelRefusedError if it is not."""
    return None if settings.teacher is None else locked_model(workspace, settings.teacher, setting=NAME).digest


def taught_by(workspace: Workspace, settings: AdaptationSettings) -> dict[str, JsonValue]:
    """What the key of a training counts of a teacher; nothing without one."""
    return {} if settings.teacher is None else {"teacher": teacher_sha256(workspace, settings)}


@step("fetch_teacher", retry_delays_seconds=RETRY_DELAYS_SECONDS, retry_if=is_unavailable)
def fetch_teacher(workspace: Workspace, settings: AdaptationSettings, data: ValidatedData) -> BaseModel | None:
    """Bring the locked teacher into the store of base models, or verify the one that is there; None without one.

    Raises: SettingsError if it answers another question than the data ask; what `fetch_model` raises.
    """
    if settings.teacher is None:
        return None
    teacher_sha256(workspace, settings)  # which names the setting, if it is not locked
    teacher = fetch_model.fn(workspace, settings.teacher)
    teaching(teacher, data)
    return teacher


def teaching(teacher: BaseModel, data: ValidatedData, *, device: Literal["cpu", "cuda"] = "cpu") -> "Predictor":
    """The teacher, ready to answer. Raises: SettingsError if it answers another question than the data ask."""
    from graftline.answers.predicting import predictor_of

    predictor = predictor_of(teacher.path, device=device)
    outputs = predictor.outputs
    asked = ", ".join((data.kind, data.task, *sorted(data.labels)))
    answered = ", ".join((predictor.kind, outputs.task, *sorted(outputs.labels)))
    if asked != answered:
        raise SettingsError(
            f"{NAME} {teacher.uri}: answers {shown(answered)}, expected {shown(asked)} as the data have; name a model"
            " that was adapted to the same labels"
        )
    return predictor


def taught_outputs(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    outputs: "Outputs",
    domain: TargetDomain | None = None,
) -> "dict[str, Tensor]":
    """What the teacher says of the rows on each side, in file order, as a model with these outputs learns it.

    Of the rows of a target domain, too, which have no labels: under `UNLABELLED`.

    Outputs before any temperature in the order of the labels, or standardised numbers: (rows, outputs). Once per
    teacher and data.
    """
    from safetensors.torch import load_file

    teacher = fetch_teacher.fn(workspace, settings, data)
    assert teacher is not None  # who asks has one
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "data": data.sha256,
            "teacher": teacher.digest,
            "threads": thread_count(settings.threads),
            "device": settings.device,
            **({} if domain is None else {"unlabelled": domain.rows.sha256}),
        },
        code=(__name__, *TASKS[data.task].modules("outputs")),
        libraries=(*LIBRARIES, *READING_LIBRARIES[data.kind]),
        build=lambda folder: _build(folder, workspace, settings, data, teacher, domain),
    )
    said = load_file(folder.path / ANSWERS)
    logger.info("%s: %s answers %d rows (%s)", STEP, teacher.uri, sum(map(len, said.values())), folder.outcome)
    as_learned = TASKS[data.task].outputs.as_learned
    return {name: as_learned(outputs, of) if data.task == "regression" else of for name, of in said.items()}


def _build(
    folder: Path,
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    teacher: BaseModel,
    domain: TargetDomain | None,
) -> None:
    from safetensors.torch import save_file

    use_threads(settings.threads)
    predictor = teaching(teacher, data, device="cuda" if settings.device == "cuda" else "cpu")
    asked = {str(side): raw_inputs(workspace, data, side) for side in SIDES}
    if domain is not None:
        asked[UNLABELLED] = domain.inputs(workspace)
    save_file({name: _said(raws, data, predictor) for name, raws in asked.items()}, folder / ANSWERS)


def _said(raws: "Sequence[Raw]", data: ValidatedData, predictor: "Predictor") -> "Tensor":
    """The teacher's outputs in the order of the data's labels, or its numbers in the unit of the targets."""
    outputs = predictor.features(raws, Wait("the teacher's answers").tell).outputs
    if data.task == "regression":
        return TASKS[data.task].outputs.answers(predictor.outputs, outputs)
    return outputs[:, _places(predictor.outputs.labels, data.labels)].contiguous()


def taught_predictions(workspace: Workspace, teacher: BaseModel, data: ValidatedData) -> "Floats":
    """What the teacher says of the held-out rows, as the task's metrics read it: (held-out rows, outputs)."""
    predictor = teaching(teacher, data)
    predictions = predictor.predict(raw_inputs(workspace, data, "test"))
    return predictions if data.task == "regression" else predictions[:, _places(predictor.outputs.labels, data.labels)]


def _places(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where the teacher has the labels of the data."""
    return [labels.index(label) for label in wanted]
