"""Proof, on a few rows, that a replay gives what the plain pass gives."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from graftline.compute.device import FORWARD_ERRORS, device_of
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.replay import ReplayPlan, cannot_be_kept, capture, plan_replay, replaying
from graftline.frozen.rows import InputRows, in_parts
from graftline.frozen.running import run_in_batches

# Rows on which it is proven that the model can be replayed.
PROOF_ROWS = 2
# Chosen among so many, where their lengths differ.
PROOF_CHOICE = 64
# Rows that run beside others differ in float32's last bits, over all layers; whatever does not fit differs far more.
KEPT_TOLERANCE = 1e-3


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
            for places, entries in run_in_batches(model, point, rows, few, "float32", "torch"):
                kept |= {few[place]: entry for place, entry in zip(places, entries, strict=True)}
            with replaying(model, point, plan) as give:

                def replayed(part: list[int]) -> Tensor:
                    give(pad_sequence([kept[row] for row in part], batch_first=True).to(device_of(model)))
                    output: Tensor = model(**(rows.blank(part) or rows.batch(part)))
                    return output

                is_equal = torch.allclose(in_parts(rows, few, replayed), plain, rtol=0, atol=_rounding(plain))
            fits = is_equal and not _fills_up_texts(model, point, rows, few)
        except FORWARD_ERRORS:
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
