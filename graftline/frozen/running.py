"""Running the frozen part for rows, in batches whose shape follows from each row alone."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from graftline.compute.device import device_of
from graftline.compute.folding import folded
from graftline.compute.openvino_runtime import compiled
from graftline.compute.precision import Precision, autocast, narrowed
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.replay import capture
from graftline.frozen.rows import InputRows
from graftline.models.batching import Batches, equal_length_batches
from graftline.models.encoded_rows import Measures
from graftline.models.preprocessing import Encoded
from graftline.settings.adaptation import Runtime

# Rows that OpenVINO computes before they are written to the store.
ROWS_AT_ONCE = 64


def run_in_batches(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision, runtime: Runtime
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """Run the frozen part for the chosen rows. Yields: places among these, and of each what is to be kept of it."""
    if not len(chosen):
        return
    if runtime == "openvino":
        yield from _run_alone(model, point, rows, chosen, precision)
        return
    padded = padded_rows(rows, chosen)
    yield from run_batches(model, point, padded, own_lengths(rows, chosen), batches_of(padded), precision)


class PaddedRows(Sequence[Encoded]):
    """The chosen rows as the frozen part runs them; each is padded when it is asked for."""

    def __init__(self, rows: InputRows, chosen: Sequence[int]) -> None:
        self._rows, self._chosen = rows, chosen
        self._lengths = np.fromiter(map(rows.preprocessor.length, self), np.int32, len(chosen))

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, place: Any) -> Encoded:
        return self._rows.preprocessor.padded(self._rows.encoded[int(self._chosen[place])])

    def lengths_by(self, _measures: Measures) -> NDArray[np.int32]:
        """Measured once."""
        return self._lengths


def padded_rows(rows: InputRows, chosen: Sequence[int]) -> InputRows:
    """The chosen rows as the frozen part runs them."""
    return InputRows(rows.preprocessor, PaddedRows(rows, chosen), rows.targets)


def own_lengths(rows: InputRows, chosen: Sequence[int]) -> Sequence[int]:
    """The lengths of the chosen rows without padding."""
    return cast("Sequence[int]", np.asarray(rows.lengths, np.int32)[np.asarray(chosen, np.int64)])


def batches_of(padded: InputRows) -> Batches:
    """The batches in which these rows run."""
    return equal_length_batches(padded.lengths, padded.preprocessor.batch_length)


def run_batches(
    model: nn.Module,
    point: FreezePoint,
    padded: InputRows,
    own: Sequence[int],
    batches: Sequence[Sequence[int]],
    precision: Precision,
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """Run the frozen part for some of the batches of rows whose `own` lengths are these; see `run_in_batches`."""
    lengths, frozen = padded.lengths, point.frozen_modules
    with (
        folded(model, frozen, precision, lambda: capture(model, point, padded.batch([0]))),
        autocast(precision, device_of(model)),
        narrowed(model, frozen, precision),
    ):
        for batch in batches:
            captured = capture(model, point, padded.batch(batch)).cpu()
            # What stands where a row was padded says nothing; one vector per row has no such places.
            is_ragged = captured.ndim > 2 and captured.shape[1] == lengths[batch[0]]
            yield (
                batch,
                [entry[: own[member]] if is_ragged else entry for member, entry in zip(batch, captured, strict=True)],
            )


def _run_alone(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """The same with OpenVINO, which needs no batches to fill the processor."""
    all_lengths = rows.lengths
    # Longest first, so that too large a row fails at once; neighbours of one shape also spare OpenVINO some work.
    order = sorted(range(len(chosen)), key=lambda place: -all_lengths[chosen[place]])
    network = compiled(
        lambda batch: capture(model, point, batch),
        model,
        [rows.batch([chosen[place]]) for place in (order[0], order[-1])],
        what="adaptation.runtime openvino",
        precision=precision,
    )
    for start in range(0, len(order), ROWS_AT_ONCE):
        places = order[start : start + ROWS_AT_ONCE]
        yield places, [answer[0] for answer in network(rows.batch([chosen[place]]) for place in places)]
