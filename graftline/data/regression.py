"""Targets that are a number."""

import math
from collections.abc import Collection

from graftline.data.expectation import BETWEEN, NULL, Expectation, of_row
from graftline.data.splitting import SPLITS, Side
from graftline.data.tables import FLOAT_TYPES, LABEL_TYPES, NUMBER
from graftline.data.target_kind import TargetKind
from graftline.settings import DataSettings


def malformed(target: str, _settings: DataSettings) -> str | None:
    number = float(target) if NUMBER.fullmatch(target) else math.nan
    return None if math.isfinite(number) else f"{target!a} is no finite number, expected one such as 0.5 or -3e2"


def expected(_settings: DataSettings) -> list[Expectation]:
    """Numbers that differ: equal ones leave nothing to learn, and nothing to measure what was learned by."""
    return [
        of_row("target_number", "target.malformed", NULL, "every target is a finite number"),
        *(Expectation(f"target_{split}_spread", "set", "set", BETWEEN, f"the targets of the {split} rows differ",
                      f"{split}_spread", {"min_value": 0, "strict_min": True}) for split in SPLITS),
    ]  # fmt: skip


def spreads(accepted: Collection[tuple[str, Side]]) -> dict[str, float]:
    """On each side of the split the distance between the lowest and the highest number; 0 if there are none."""
    numbers = {split: [float(target) for target, side in accepted if side == split] for split in SPLITS}
    return {f"{split}_spread": max(found) - min(found) if found else 0.0 for split, found in numbers.items()}


TARGETS = TargetKind(
    expected,
    malformed=malformed,
    set_facts=spreads,
    column_types=(*LABEL_TYPES, *FLOAT_TYPES),
    column_holds="numbers or text",
    # Measured twice, a number differs.
    may_conflict=False,
)
