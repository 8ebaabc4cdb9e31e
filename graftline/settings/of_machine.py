"""Settings that a machine may choose: settled where they are read, so that a repetition elsewhere names what it was."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from graftline.compute.machine import has_bfloat16, may_have_gpu


def _chosen_device(value: str, info: ValidationInfo) -> str:
    if value != "auto":
        return value
    if info.data.get("runtime") == "openvino" or not may_have_gpu():
        return "cpu"
    import torch  # takes a second

    return "cuda" if torch.cuda.is_available() else "cpu"


def _chosen_precision(value: object, info: ValidationInfo) -> object:
    if value in ("float32", "bfloat16"):
        return value
    if value != "auto":
        raise ValueError("expected float32, bfloat16 or auto")
    device = info.data.get("device", "cpu")
    if device == "cpu" and (able := has_bfloat16()) is not None:
        return "bfloat16" if able else "float32"
    from graftline.compute.precision import fastest_precision  # and torch

    return fastest_precision(device)


ChosenDevice = Annotated[Literal["auto", "cpu", "cuda"], AfterValidator(_chosen_device), Field(validate_default=True)]
ChosenPrecision = Annotated[
    Literal["float32", "bfloat16"],
    BeforeValidator(_chosen_precision),
    WithJsonSchema({"type": "string", "enum": ["float32", "bfloat16", "auto"]}),
]
