"""One label per row: an output for each label, of which one is right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftline.evaluation.costs import least_cost_answers
from graftline.evaluation.given import Given, label_given, with_answers
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


def given(outputs: Outputs, probabilities: Predictions) -> Given:
    """The label of the least expected cost, else the one that is farthest above its threshold, as a ratio."""
    if outputs.costs:
        places = least_cost_answers(probabilities, np.array(outputs.costs))
    else:
        places = (probabilities / (np.array(outputs.thresholds) if outputs.thresholds else 1)).argmax(1)
    return np.eye(len(outputs.labels), dtype=bool)[places]


def answered(predictions: Predictions, labels: Sequence[str]) -> dict[str, list[Any]]:
    return {
        "label": [labels[place] for place in label_given(predictions)],
        "probabilities": named_probabilities(predictions, labels),
    }


def understood(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Predictions]:
    """The labels, and the probabilities (rows, labels) with the answers that were given."""
    labels, probabilities = probabilities_in(rows)
    return labels, with_answers(probabilities, np.array([[label == row["label"] for label in labels] for row in rows]))


OUTPUTS = OutputKind(
    read=read,
    outputs_for=outputs_for,
    as_learned=as_learned,
    answers=answers,
    given=given,
    columns={"label": "label", "probabilities": "probabilities"},
    answered=answered,
    understood=understood,
)
