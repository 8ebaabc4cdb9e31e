"""Before step 3, choose_runtime: where the settings leave it open, what the frozen part runs with."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from heapq import nlargest, nsmallest
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.compute.threads import thread_count, use_threads
from graftline.errors import RuntimeUnfitError
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings, Runtime
from graftline.settings.compute import COMPUTE, read_compute
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, batches_of_split
from graftline.tasks.serving.answering_process import EXAMPLES
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.untouched_base import base_with_head
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.compute.device import Batch
    from graftline.frozen.freezing import FreezePoint
    from graftline.models.classifier import Classifier
    from graftline.models.preprocessing import Preprocessor

STEP, SUMMARY = "choose_runtime", "runtime.json"
LIBRARIES = ("torch", "transformers", "openvino", *READING_LIBRARIES["text"])
AUTO = "auto"
# Rows times parameters from which on a conversion of some seconds pays: with MiniLM 4,400 rows, with BERT 900. It saves
# a quarter of the time of short texts in float32, and a third in bfloat16 (benchmarks/README.md).
PAYS = 100_000_000_000
BYTES_OF_PARAMETER = 4
# So many of the texts with the most characters, and of those with the fewest, are read as tokens: the longest and the
# shortest row are among them, or rows about as long. All of them would be read twice.
READ_AS_TOKENS = 64

logger = logging.getLogger("graftline.choose_runtime")


def with_chosen_runtime(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> Settings:
    """The settings with the chosen runtime in the place of `auto`; as they are otherwise.

    They are then those of a run that named it, so that it is recorded, and a repetition makes the same model.
    """
    chosen = chosen_runtime(workspace, settings.adaptation, data, base)
    return settings if chosen is settings.adaptation else settings.model_copy(update={"adaptation": chosen})


def chosen_runtime(
    workspace: Workspace, settings: AdaptationSettings, data: ValidatedData, base: BaseModel
) -> AdaptationSettings:
    """The same of one section."""
    if settings.runtime != AUTO:
        return settings
    runtime: Runtime = "torch"
    because = _stays_with_torch(workspace, settings, data, base)
    if because is None:
        runtime, because = choose_runtime(workspace, settings, data, base)
    logger.info("runtime: %s, for %s", runtime, because)
    return settings.model_copy(update={"runtime": runtime})


def _stays_with_torch(
    workspace: Workspace, settings: AdaptationSettings, data: ValidatedData, base: BaseModel
) -> str | None:
    """Why nothing else is tried; None where OpenVINO may pay."""
    rows = data.split_rows["train"] + data.split_rows["validation"]
    if settings.device != "cpu":
        return "a GPU adapts the model"
    if data.kind != "text":
        return f"rows of the kind {data.kind}, which OpenVINO was not faster with"
    if rows * base.bytes // BYTES_OF_PARAMETER < PAYS:
        return f"{rows:,} rows, too few for a conversion to pay"
    if read_compute(workspace.root / COMPUTE).engine != "local":  # also for a verb that does not ask the workers
        return "a cluster runs the frozen part"
    if find_spec("openvino") is None:
        return 'want of OpenVINO, which pip install "graftline[openvino]" brings'
    return None


def choose_runtime(
    workspace: Workspace, settings: AdaptationSettings, data: ValidatedData, base: BaseModel
) -> tuple[Runtime, str]:
    """Whether OpenVINO runs this base model for these rows as PyTorch does: compared once, and kept.

    Returns: the runtime, and why.
    """
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "data": data.sha256,
            "base_model": base.digest,
            "precision": settings.precision,
            "threads": thread_count(settings.threads),
            "max_tokens": settings.max_tokens,
            "freeze_until": settings.freeze_until,
            "block_pattern": settings.block_pattern,
        },
        code=(__name__, "graftline.compute.openvino_runtime"),
        libraries=LIBRARIES,
        build=lambda folder: _build(folder, settings, data, base),
    )
    found = cast("dict[str, str]", folder.read_json(SUMMARY))
    return "openvino" if found["runtime"] == "openvino" else "torch", found["because"]


def _build(folder: Path, settings: AdaptationSettings, data: ValidatedData, base: BaseModel) -> None:
    from graftline.compute.openvino_runtime import compiled
    from graftline.frozen.replay import capture
    from graftline.models.folders import load_preprocessor
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Reading

    use_threads(settings.threads)
    verify_base_model(base)
    reading = Reading("text", settings.max_tokens)
    preprocessor = load_preprocessor(base.path, reading)
    model = base_with_head(base, Outputs("single_label", ("0", "1")), reading, settings, scratch=False)
    rows = _compared(preprocessor, data)
    summary: dict[str, JsonValue] = {
        "runtime": "openvino",
        "because": "it runs this base model as PyTorch does, faster on a processor",
    }
    try:
        for point in _points(model, settings, rows[0]):
            compiled(partial(capture, model, point), model, rows, what=AUTO, precision=settings.precision)
    except RuntimeUnfitError as error:
        summary = {"runtime": "torch", "because": reason(error)}
    write_json(folder / SUMMARY, summary)


def reason(error: RuntimeUnfitError) -> str:
    """What OpenVINO made of a model, without the setting that asked for it and the advice to change that."""
    return error.sentence.partition(": ")[2].rpartition("; ")[0]


def _points(model: "Classifier", settings: AdaptationSettings, example: "Batch") -> "Iterator[FreezePoint]":
    """Where frozen parts of a run end: in front of the head, and at the block that the settings name, if they do."""
    from graftline.frozen.freezing import freeze

    if settings.freeze_until is not None:
        yield freeze(model, "partial", settings.freeze_until, example=example)
    yield freeze(model, "feature_extraction", None, example=example)


def _compared(preprocessor: "Preprocessor", data: ValidatedData) -> "list[Batch]":
    """The rows to compare, each alone: the longest and the shortest, as the frozen part compares them, and examples.

    A difference between rows is one of their lengths, for which a traced model may be wrong.
    """
    rows = preprocessor.encode(_longest_and_shortest(data))
    in_order = sorted(rows, key=preprocessor.length)
    return [preprocessor.collate([row]) for row in (in_order[-1], in_order[0], *preprocessor.encode(EXAMPLES))]


def _longest_and_shortest(data: ValidatedData) -> Sequence[str]:
    """By their characters, of the rows to learn and to choose from."""
    longest, shortest = list[str](), list[str]()
    for side in ("train", "validation"):
        # Of several targets, rows that lack the first are learned from, too.
        for some in batches_of_split(data.with_all_rows if data.further else data, side, ["input"]):
            longest = nlargest(READ_AS_TOKENS, chain(longest, some["input"]), key=len)
            shortest = nsmallest(READ_AS_TOKENS, chain(shortest, some["input"]), key=len)
    return [*longest, *shortest]
