"""The base model as it came: with a new head, how fast it is here, and what it makes of inputs."""

import logging
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.compute.device import batch_on
from graftline.compute.threads import use_threads
from graftline.data.splitting import Side
from graftline.settings import Kind, Settings
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs
from graftline.tasks.progress import Wait
from graftline.tasks.steps.feature_stores import stores_of
from graftline.tasks.workers.fanout import spread_for
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.models.classifier import Classifier
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Raw, Reading

# The strategy that runs each row through the base model once.
FASTEST: Strategy = "feature_extraction"

logger = logging.getLogger("graftline.fine_tune")


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
    model = base_with_head(base, outputs, reading, adaptation, scratch=False)
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
        model=base_with_head(base, outputs, reading, plain, scratch=False),
        rows={"train": InputRows(preprocessor, preprocessor.encode(raws), targets)},
        settings=plain,
        objective_for=task.objective_for,
        stores=stores_of(workspace, base, plain, kind, []),
        folder=workspace.artifacts,
        listener=Listener(passed=Wait("frozen part").tell, say=logger.info),
        spread=spread_for(plain),
    )
    return adaptation.features()["train"].features


def base_with_head(
    base: BaseModel, outputs: "Outputs", reading: "Reading", settings: AdaptationSettings, *, scratch: bool
) -> "Classifier":
    """The base model, or from `scratch` its architecture with random weights, with a new head."""
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
