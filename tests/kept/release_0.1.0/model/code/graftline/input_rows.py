"""Encoded inputs as rows to train on, either through the whole model or from the kept output of its frozen part."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from graftline.adaptation_settings import Runtime
from graftline.augmentation import View
from graftline.batching import equal_length_batches
from graftline.classifier import Classifier
from graftline.device import device_of, moved
from graftline.feature_store import FeatureStore
from graftline.folding import folded
from graftline.freezing import FreezePoint
from graftline.openvino_runtime import compiled
from graftline.precision import Precision, autocast, narrowed
from graftline.preprocessing import Encoded, Preprocessor
from graftline.replay import ReplayPlan, cannot_be_kept, capture, plan_replay, replaying

# Rows that OpenVINO computes before they are written to the store.
ROWS_AT_ONCE = 64
# Rows on which it is proven that the model can be replayed.
PROOF_ROWS = 2
# Chosen among so many, where their lengths differ.
PROOF_CHOICE = 64
# Rows that run beside others differ in float32's last bits, over all layers; whatever does not fit differs far more.
KEPT_TOLERANCE = 1e-3
# Raised whenever what follows, or what it calls, gives other bits: what lies in stores was computed the old way.
FROZEN_PART_VERSION = 3
# Batch, channels, height, width.
FEATURE_MAP_AXES = 4


@dataclass(frozen=True)
class InputRows:
    """Rows that go through the whole model."""

    preprocessor: Preprocessor
    encoded: Sequence[Encoded]
    targets: Tensor
    views: tuple[View, ...] = ()
    """The random views in which epochs see the rows; none: as they are."""

    @property
    def lengths(self) -> Sequence[int]:
        return [self.preprocessor.length(row) for row in self.encoded]

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """What the model reads of these rows, in float32 also where the model computes in bfloat16."""
        with torch.autocast("cpu", enabled=False):
            return self.preprocessor.collate([self.encoded[row] for row in rows])

    def blank(self, rows: Sequence[int]) -> dict[str, Tensor] | None:
        """What has the shape of that, if it is worth avoiding to read the rows."""
        return self.preprocessor.blank([self.encoded[row] for row in rows])

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        return in_parts(self, rows, lambda part: model(**self.batch(part)))

    def in_epoch(self, epoch: int) -> "InputRows":
        """The rows as this epoch sees them, from 0: in their first view, in the next one, then from the first again."""
        return self._in_view(self.views[epoch % len(self.views)]) if self.views else self

    def in_all_views(self) -> "InputRows":
        """All rows in their first view, then all in the next; as they are if they have no views."""
        return joined([self._in_view(view) for view in self.views]) if self.views else self

    def _in_view(self, view: View) -> "InputRows":
        encoded = [self.preprocessor.in_view(row, view) for row in self.encoded]
        return InputRows(self.preprocessor, encoded, self.targets)


@dataclass(frozen=True)
class ReplayedRows:
    """Rows whose frozen part has run already; use inside of `replaying`, whose function is `give`."""

    rows: InputRows
    store: FeatureStore
    keys: Sequence[str]
    """In the store; those of `rows.in_all_views()`, if the rows have views."""
    give: Callable[[Tensor], None]

    @property
    def lengths(self) -> Sequence[int]:
        return self.rows.lengths

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        return in_parts(self.rows, rows, lambda part: self._replayed(model, part))

    def _replayed(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        kept = moved(self.store.batch([self.keys[row] for row in rows]).float(), device_of(model))
        # Feature maps lie in the store as they are named; the frozen part would have left them in this order.
        self.give(kept.contiguous(memory_format=torch.channels_last) if kept.ndim == FEATURE_MAP_AXES else kept)
        output: Tensor = model(**(self.rows.blank(rows) or self.rows.batch(rows)))
        return output

    def in_epoch(self, epoch: int) -> "ReplayedRows":
        """The rows as this epoch sees them, with the keys of its view."""
        count, views = len(self.rows.encoded), max(1, len(self.rows.views))
        first = epoch % views * count
        return replace(self, rows=self.rows.in_epoch(epoch), keys=self.keys[first : first + count])


@dataclass(frozen=True)
class FeatureRows:
    """Rows that are nothing but the vector in front of the head; the backbone does not run."""

    features: Tensor
    """(rows, width); of rows with views all in the first view, then all in the next."""
    targets: Tensor
    views: int = 1

    @property
    def lengths(self) -> Sequence[int]:
        return [1] * len(self.features)

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        logits: Tensor = cast("Classifier", model).head(moved(self.features[list(rows)], device_of(model)))
        return logits

    def in_epoch(self, epoch: int) -> "FeatureRows":
        """The rows in the view of this epoch."""
        count = len(self.features) // self.views
        part = slice(epoch % self.views * count, (epoch % self.views + 1) * count)
        return FeatureRows(self.features[part], self.targets[part])


def in_parts(rows: InputRows, chosen: Sequence[int], output_of: Callable[[list[int]], Tensor]) -> Tensor:
    """The output for the chosen rows, in order: of all at once, or, if the model hears padding, length by length."""
    if rows.preprocessor.mixes_lengths:
        return output_of(list(chosen))
    lengths = [rows.preprocessor.length(rows.encoded[row]) for row in chosen]
    parts = equal_length_batches(lengths, sum(lengths), filled=False)
    outputs = torch.cat([output_of([chosen[place] for place in part]) for part in parts])
    return outputs[torch.tensor([place for part in parts for place in part]).argsort().to(outputs.device)]


def plan_for(model: nn.Module, point: FreezePoint, rows: InputRows) -> ReplayPlan:
    """How to replay these rows, proven on a few of them before anything is kept.

    Raises: SettingsError if the model cannot be replayed.
    """
    few = _telling(rows)
    plan = plan_replay(model, point, rows.batch(few), rows.blank(few))
    _require_kept_rows_to_fit(model, point, plan, rows, few)
    return plan


def _telling(rows: InputRows) -> list[int]:
    """Of the first rows the shortest, the longest, and one of odd length, which shows whether the model rounds it."""
    lengths = [rows.preprocessor.length(row) for row in rows.encoded[:PROOF_CHOICE]]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    odd = [row for row in order[1:-1] if lengths[row] % 2][:1]
    return sorted({order[0], order[-1], *odd}) if lengths[order[0]] < lengths[order[-1]] else order[:PROOF_ROWS]


def _require_kept_rows_to_fit(
    model: nn.Module, point: FreezePoint, plan: ReplayPlan, rows: InputRows, few: Sequence[int]
) -> None:
    """Raises: SettingsError unless rows that ran by themselves, cut to their length, are replayed as the plain pass."""
    kept: dict[int, Tensor] = {}
    with torch.no_grad():
        plain = in_parts(rows, few, lambda part: model.eval()(**rows.batch(part)))
        try:
            for places, entries in _run(model, point, rows, few, "float32", "torch"):
                kept |= {few[place]: entry for place, entry in zip(places, entries, strict=True)}
            with replaying(model, point, plan) as give:

                def replayed(part: list[int]) -> Tensor:
                    give(pad_sequence([kept[row] for row in part], batch_first=True).to(device_of(model)))
                    output: Tensor = model(**(rows.blank(part) or rows.batch(part)))
                    return output

                is_equal = torch.allclose(in_parts(rows, few, replayed), plain, rtol=0, atol=_rounding(plain))
            fits = is_equal and not _fills_up_texts(model, point, rows, few)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, AssertionError):
            fits = False
    if not fits:
        raise cannot_be_kept(point)


def _fills_up_texts(model: nn.Module, point: FreezePoint, rows: InputRows, few: Sequence[int]) -> bool:
    """Whether the model pads texts by itself, as Longformer does: to lengths that a row cut to its own has not."""
    if rows.preprocessor.reading.kind != "text":
        return False
    entering = [(capture(model, point, rows.batch([row])), rows.preprocessor.length(rows.encoded[row])) for row in few]
    return any(one.ndim > 2 and one.shape[1] != length for one, length in entering)


def _rounding(outputs: Tensor) -> float:
    return KEPT_TOLERANCE * max(1.0, float(outputs.abs().max()))


def row_keys(rows: InputRows) -> list[str]:
    """A name for what the model reads of each row: equal inputs share one entry in the store."""
    return [rows.preprocessor.key(row) for row in rows.encoded]


def joined(parts: Sequence[InputRows]) -> InputRows:
    """The rows of all parts, which have one preprocessor, in order."""
    encoded = [row for part in parts for row in part.encoded]
    return InputRows(parts[0].preprocessor, encoded, torch.cat([part.targets for part in parts]))


def fill(
    store: FeatureStore,
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    keys: Sequence[str],
    *,
    precision: Precision = "float32",
    runtime: Runtime = "torch",
) -> int:
    """Run the frozen part for the rows that the store lacks. Returns: how many rows that were.

    A row's entry has the same bits whichever rows it is computed with, today or in another run: it runs padded as its
    own length demands, among rows of that padded length, in a batch whose size follows from it alone; with OpenVINO
    it runs alone.
    Raises: FeatureStoreFullError, before all is computed, if there is no room for all; SettingsError if the runtime
    cannot run the model.
    """
    place = {key: row for row, key in enumerate(keys)}
    missing = [place[key] for key in store.missing(keys)]
    all_lengths = rows.lengths
    lengths = [all_lengths[row] for row in missing]
    for number, (batch, entries) in enumerate(_run(model, point, rows, missing, precision, runtime)):
        if number == 0:
            shape, length = tuple(entries[0].shape), lengths[batch[0]]
            store.reserve(store.needed_bytes(_scaled(shape, other / length) for other in lengths))
        # A last, smaller batch was filled up with rows that are in it already.
        store.add({keys[missing[member]]: entry for member, entry in zip(batch, entries, strict=True)})
    return len(missing)


def run_through(
    model: nn.Module, point: FreezePoint, rows: InputRows, precision: Precision, runtime: Runtime = "torch"
) -> Tensor:
    """What enters the first trainable module, if that is one vector per row: (rows, width), bits as `fill` keeps."""
    vectors = torch.empty(0)
    for batch, entries in _run(model, point, rows, range(len(rows.encoded)), precision, runtime):
        if not vectors.numel():
            vectors = torch.empty(len(rows.encoded), entries[0].shape[0])
        vectors[batch] = torch.stack(list(entries)).float()
    return vectors


def _run(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision, runtime: Runtime
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """Run the frozen part for the chosen rows. Yields: places among these, and of each what is to be kept of it."""
    if not chosen:
        return
    if runtime == "openvino":
        yield from _run_alone(model, point, rows, chosen, precision)
        return
    padded = InputRows(rows.preprocessor, [rows.preprocessor.padded(rows.encoded[row]) for row in chosen], rows.targets)
    own, lengths = [rows.preprocessor.length(rows.encoded[row]) for row in chosen], padded.lengths
    frozen = point.frozen_modules
    with (
        folded(model, frozen, precision, lambda: capture(model, point, padded.batch([0]))),
        autocast(precision, device_of(model)),
        narrowed(model, frozen, precision),
    ):
        for batch in equal_length_batches(lengths, rows.preprocessor.batch_length):
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
        lambda batch: capture(model, point, batch), model,
        [rows.batch([chosen[place]]) for place in (order[0], order[-1])],
        what="adaptation.runtime openvino", precision=precision,
    )  # fmt: skip
    for start in range(0, len(order), ROWS_AT_ONCE):
        places = order[start : start + ROWS_AT_ONCE]
        yield places, [answer[0] for answer in network(rows.batch([chosen[place]]) for place in places)]


def _scaled(shape: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """The shape of an entry of a row that is so many times as long: tokens and frames grow with it, vectors do not."""
    return shape if len(shape) == 1 else (math.ceil(shape[0] * factor), *shape[1:])
