"""Any number of labels per row: an output for each label, each right or wrong by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftline.data.targets import labels_in
from graftline.evaluation.given import THRESHOLD, Given, labels_given, with_answers
from graftline.models.output_kind import OutputKind, Predictions, named_probabilities, probabilities_in
from graftline.models.outputs import Outputs


def read(targets: Sequence[str], labels: Sequence[str], separator: str) -> Tensor:
    """1 where a row has the label: int64 (rows, labels)."""
    places = {label: place for place, label in enumerate(labels)}
    there = torch.zeros(len(targets), len(labels), dtype=torch.int64)
    for row, target in enumerate(targets):
        there[row, [places[label] for label in labels_in(target, separator)]] = 1
    return there


def outputs_for(labels: Sequence[str], train: Tensor) -> Outputs:  # noqa: ARG001 - others need it
    return Outputs("multi_label", tuple(labels))


def as_learned(outputs: Outputs, targets: Tensor) -> Tensor:  # noqa: ARG001
    return targets.float()


def answers(outputs: Outputs, raw: Tensor) -> Tensor:
    """A probability for each label by itself."""
    return (raw.double() / outputs.temperature).sigmoid()


def given(outputs: Outputs, probabilities: Predictions) -> Given:
    """Those whose own threshold is reached."""
    return np.asarray(probabilities >= (np.array(outputs.thresholds) if outputs.thresholds else THRESHOLD))


def answered(predictions: Predictions, labels: Sequence[str]) -> dict[str, list[Any]]:
    return {
        "labels": [[labels[place] for place in row.nonzero()[0]] for row in labels_given(predictions)],
        "probabilities": named_probabilities(predictions, labels),
    }


def understood(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Predictions]:
    """The labels, and the probabilities (rows, labels) with the answers that were given."""
    labels, probabilities = probabilities_in(rows)
    return labels, with_answers(probabilities, np.array([[label in row["labels"] for label in labels] for row in rows]))


OUTPUTS = OutputKind(
    read=read,
    outputs_for=outputs_for,
    as_learned=as_learned,
    answers=answers,
    given=given,
    columns={"labels": "labels", "probabilities": "probabilities"},
    answered=answered,
    understood=understood,
)
