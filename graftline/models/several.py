"""Several targets beside one another, of which each row may lack some: as numbers to learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftline.models.output_kind import OutputKind
from graftline.models.outputs import Outputs, Part, parts_of
from graftline.settings import Task


@dataclass(frozen=True)
class Learned:
    """One target of some rows."""

    part: Part
    rows: Tensor | None
    """Which of the rows have it: bool (rows,); None: all of them, for it is the only one."""
    targets: Tensor
    """Of these rows, as the loss of its task reads them."""

    def of(self, values: Tensor) -> Tensor:
        """Those of the rows that have it, of values for all rows."""
        return values if self.rows is None else values[self.rows.to(values.device)]


def beside_one_another(
    outputs: Outputs, targets: Sequence[Tensor], rows: Sequence[Tensor], kinds: Mapping[Task, OutputKind]
) -> Tensor:
    """All targets of all rows as numbers: float64 (rows, columns), NaN where a row lacks one.

    `targets` holds each target of those rows that have it, which `rows`, bool (rows,), say, as `OutputKind.read` gives
    them; both in the order of `parts_of`.
    Raises: DataRefusedError for targets that no loss holds.
    """
    columns = []
    for part, own, there in zip(parts_of(outputs), targets, rows, strict=True):
        learned = kinds[part.outputs.task].as_learned(part.outputs, own).double()
        column = torch.full((len(there), _width(part)), torch.nan, dtype=torch.float64)
        column[there] = learned.reshape(-1, _width(part))
        columns.append(column)
    return torch.cat(columns, dim=1)


def learned_of(outputs: Outputs, targets: Tensor) -> list[Learned]:
    """Every target of some rows, from what `beside_one_another` made of them; of one target all rows as they are."""
    parts, found, start = parts_of(outputs), list[Learned](), 0
    if len(parts) == 1:
        return [Learned(parts[0], None, targets)]
    for part in parts:
        own = targets[:, start : start + _width(part)]
        there = ~own[:, 0].isnan()
        own = own[there]
        found.append(Learned(part, there, own[:, 0].long() if part.outputs.task == "single_label" else own.float()))
        start += _width(part)
    return found


def _width(part: Part) -> int:
    """Of a target among the others: a label is the number of its place."""
    return 1 if part.outputs.task == "single_label" else part.outputs.width
