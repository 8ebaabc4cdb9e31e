"""What MLflow is given to make a registered model of: its code, its signature, an example, its requirements."""

import base64
import importlib.metadata
import io
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import graftline
from graftline.models.outputs import column_of
from graftline.settings import Kind, Task
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, FurtherRows
from graftline.tasks.own_code import PACKAGE, is_in, modules_behind, path_of
from graftline.tasks.tracking.requirements import public_version

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from graftline.models.output_kind import Column

# The libraries of the registered model's code, beside those that inputs of its kind go through.
REQUIRED = ("mlflow", "torch", "transformers", "safetensors", "numpy", "pandas", "pydantic", "pyyaml")
REQUIRED_OF: dict[Kind, tuple[str, ...]] = {**READING_LIBRARIES, "image": (*READING_LIBRARIES["image"], "imagehash")}
# How a registered model computes unless whoever loads it says otherwise.
AS_EVALUATED = {"precision": "float32", "runtime": "torch", "device": "cpu"}
SERVED_MODEL = "graftline.tasks.serving.served_model"


class ServedParts(TypedDict):
    """What MLflow is given to make a registered model of."""

    python_model: str
    artifacts: dict[str, str]
    model_config: dict[str, str]
    code_paths: list[str]
    signature: "ModelSignature"
    input_example: list[str]
    pip_requirements: list[str]


def served_parts(
    model: Path, kind: Kind, task: Task, further: Sequence[FurtherRows] = (), *, column: str, scratch: Path
) -> ServedParts:
    """The registered model of the adapted one in a folder; in `scratch` its code is collected."""
    return {
        "python_model": str(path_of(SERVED_MODEL)),
        "artifacts": {"model": str(model)},
        "model_config": {**AS_EVALUATED, "column": column},
        "code_paths": [str(_library_for_prediction(scratch))],
        "signature": _signature({None: task, **{one.name: one.task for one in further}}),
        "input_example": [_example(kind)],
        "pip_requirements": requirements(kind),
    }


@contextmanager
def as_logged() -> Iterator[None]:
    """While MLflow stores one: it would like annotations on `predict`, which would forbid some forms of input."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method.*")
        yield


def _library_for_prediction(folder: Path) -> Path:
    """A copy of those modules of ours that answering needs, as a package in `folder`."""
    for module in modules_behind(SERVED_MODEL):
        if not is_in(module, ["graftline.tasks"]):
            original = cast("Path", path_of(module))
            copied = folder / graftline.__name__ / original.relative_to(PACKAGE)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, copied)
    return folder / graftline.__name__


def _signature(tasks: Mapping[str | None, Task]) -> "ModelSignature":
    """Of what is answered for each target; None is the first one."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array, Map

    from graftline.answers.tasks import TASKS

    types: dict[Column, DataType | Array | Map] = {
        "label": DataType.string,
        "labels": Array(DataType.string),
        "number": DataType.double,
        "probabilities": Map(DataType.double),
    }
    answers: list[ColSpec | TensorSpec] = [
        ColSpec(types[column], column_of(target, name))
        for target, task in tasks.items()
        for name, column in TASKS[task].outputs.columns.items()
    ]
    # Nothing is declared of what it takes. MLflow would keep the first column of a table without a name and drop the
    # others, and with a name refuse a plain list; the model itself looks at what it is given (answers/requests.py).
    return ModelSignature(outputs=Schema(answers))


def _example(kind: Kind) -> str:
    """An input as a client sends it: a text, or the base64 text of a small grey PNG or of half a second of a tone."""
    if kind == "text":
        return "An example text."
    content = io.BytesIO()
    if kind == "image":
        from PIL import Image

        Image.linear_gradient("L").resize((32, 32)).save(content, "PNG")
    else:
        import numpy as np
        import soundfile

        tone = np.sin(np.linspace(0, 440 * np.pi, 8_000))
        soundfile.write(content, tone, 16_000, format="WAV")
    return base64.b64encode(content.getvalue()).decode()


def requirements(kind: Kind) -> list[str]:
    """The exact versions that the registered model runs with here."""
    versions = {name: importlib.metadata.version(name) for name in (*REQUIRED, *REQUIRED_OF[kind])}
    return [f"{name}=={public_version(version)}" for name, version in versions.items()]
