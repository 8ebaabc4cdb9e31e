"""Before step 3, choose_runtime: where the settings leave it open, what the frozen part runs with."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.compute.threads import thread_count, use_threads
from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings, Runtime
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.serving.answering_process import EXAMPLES
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.untouched_base import base_with_head
from graftline.tasks.workers.fanout import workers
from graftline.tasks.workspace import Workspace

STEP, SUMMARY = "choose_runtime", "runtime.json"
LIBRARIES = ("torch", "transformers", "openvino")
AUTO = "auto"
# Rows times parameters from which on a conversion of some seconds pays: with MiniLM 4,400 rows, with BERT 900. It saves
# a quarter of the time of short texts in float32, and a third in bfloat16 (benchmarks/README.md).
PAYS = 100_000_000_000
BYTES_OF_PARAMETER = 4

logger = logging.getLogger("graftline.choose_runtime")


def with_chosen_runtime(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> Settings:
    """The settings with the chosen runtime in the place of `auto`; as they are otherwise.

    They are then those of a run that named it, so that it is recorded, and a repetition makes the same model.
    """
    if settings.adaptation.runtime != AUTO:
        return settings
    because = _stays_with_torch(settings.adaptation, data, base)
    if because is None:
        runtime, because = choose_runtime(workspace, settings.adaptation, base)
    else:
        runtime = "torch"
    logger.info("runtime: %s, for %s", runtime, because)
    named = settings.adaptation.model_copy(update={"runtime": runtime})
    return settings.model_copy(update={"adaptation": named})


def _stays_with_torch(settings: AdaptationSettings, data: ValidatedData, base: BaseModel) -> str | None:
    """Why nothing else is tried; None where OpenVINO may pay."""
    rows = data.split_rows["train"] + data.split_rows["validation"]
    if settings.device != "cpu":
        return "a GPU adapts the model"
    if data.kind != "text":
        return f"rows of the kind {data.kind}, which OpenVINO was not faster with"
    if workers().many:
        return "a cluster runs the frozen part"
    if rows * base.bytes // BYTES_OF_PARAMETER < PAYS:
        return f"{rows:,} rows, too few for a conversion to pay"
    if find_spec("openvino") is None:
        return 'want of OpenVINO, which pip install "graftline[openvino]" brings'
    return None


def choose_runtime(workspace: Workspace, settings: AdaptationSettings, base: BaseModel) -> tuple[Runtime, str]:
    """Whether OpenVINO runs this base model as PyTorch does: compared once, and kept. Returns: the runtime, and why."""
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "base_model": base.digest,
            "precision": settings.precision,
            "threads": thread_count(settings.threads),
            "max_tokens": settings.max_tokens,
            "freeze_until": settings.freeze_until,
            "block_pattern": settings.block_pattern,
        },
        code=(__name__, "graftline.compute.openvino_runtime"),
        libraries=LIBRARIES,
        build=lambda folder: _build(folder, settings, base),
    )
    found = cast("dict[str, str]", folder.read_json(SUMMARY))
    return "openvino" if found["runtime"] == "openvino" else "torch", found["because"]


def _build(folder: Path, settings: AdaptationSettings, base: BaseModel) -> None:
    from graftline.compute.openvino_runtime import compiled
    from graftline.frozen.freezing import freeze
    from graftline.frozen.replay import capture
    from graftline.models.folders import load_preprocessor
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Reading

    use_threads(settings.threads)
    verify_base_model(base)
    reading = Reading("text", settings.max_tokens)
    preprocessor = load_preprocessor(base.path, reading)
    model = base_with_head(base, Outputs("single_label", ("0", "1")), reading, settings, scratch=False)
    examples = [preprocessor.collate([row]) for row in preprocessor.encode(EXAMPLES)]
    # In front of the block where the run's own frozen part ends, if the settings name one.
    until = settings.freeze_until
    point = freeze(model, "partial" if until else "feature_extraction", until, example=examples[0])
    summary: dict[str, JsonValue] = {
        "runtime": "openvino",
        "because": "it runs this base model as PyTorch does, faster on a processor",
    }
    try:
        compiled(lambda batch: capture(model, point, batch), model, examples, what="auto", precision=settings.precision)
    except SettingsError as error:
        summary = {"runtime": "torch", "because": str(error).removeprefix("auto: ").removesuffix("; set it to torch")}
    write_json(folder / SUMMARY, summary)
