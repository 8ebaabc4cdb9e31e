"""One label per row: an output for each label, of which one is right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graftline.models.output_kind import OutputKind, Predictions, named_probabilities, probabilities_in
from graftline.models.outputs import Outputs


def read(targets: Sequence[str], labels: Sequence[str], separator: str) -> Tensor:  # noqa: ARG001 - others need it
    """The labels' places: int64 (rows,)."""
    places = {label: place for place, label in enumerate(labels)}
    return torch.tensor([places[target] for target in targets], dtype=torch.int64)


def outputs_for(labels: Sequence[str], train: Tensor) -> Outputs:  # noqa: ARG001
    return Outputs("single_label", tuple(labels))


def as_learned(outputs: Outputs, targets: Tensor) -> Tensor:  # noqa: ARG001
    return targets


def answers(outputs: Outputs, raw: Tensor) -> Tensor:
    """Probabilities, of which those of a row add up to 1."""
    return torch.softmax(raw.double() / outputs.temperature, dim=1)


def answered(predictions: Predictions, labels: Sequence[str]) -> dict[str, list[Any]]:
    return {
        "label": [labels[place] for place in predictions.argmax(1)],
        "probabilities": named_probabilities(predictions, labels),
    }


OUTPUTS = OutputKind(
    read=read,
    outputs_for=outputs_for,
    as_learned=as_learned,
    answers=answers,
    columns={"label": "label", "probabilities": "probabilities"},
    answered=answered,
    understood=probabilities_in,
)
