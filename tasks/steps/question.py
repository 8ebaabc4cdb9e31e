"""The question that a verdict answers: this model, as it is served, on these rows, under this policy."""

from typing import cast

from graftline.digests import json_sha256
from graftline.tasks.own_code import code_sha256
from graftline.tasks.step_folders import MANIFEST
from graftline.tasks.steps.adapting import MODEL
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.served_parts import SERVED_MODEL
from graftline.tasks.steps.tracked_run import RunInputs

# In the names of files of tensors, and of their index.
WEIGHTS = ".safetensors"


def question_of(inputs: RunInputs, checkpoint: Checkpoint) -> str:
    """The same for equal models of which the same is asked.

    It is not about how the model came about: other settings or code of the training that lead to equal weights ask the
    same again. Nor about the code that judges: what was judged stays judged.
    """
    files = cast("dict[str, dict[str, str]]", checkpoint.folder.read_json(MANIFEST))["files"]
    # Weights count by their tensors, in whatever files they lie.
    beside = {name: digest for name, digest in files.items() if name.startswith(f"{MODEL}/") and WEIGHTS not in name}
    served_by = code_sha256(SERVED_MODEL)
    return json_sha256(
        {**inputs.asked, "weights": checkpoint.weights_sha256, "beside": {**beside}, "served_by": served_by}
    )
