"""The stages of gradual unfreezing."""

import math
from collections.abc import Iterator

from graftline.settings.adaptation import AdaptationSettings, Strategy


def stages(settings: AdaptationSettings, blocks: int) -> Iterator[tuple[Strategy, str | None, int]]:
    """How each stage freezes, and its epochs: all but the head is frozen, then fewer blocks, then nothing."""
    epochs, each = settings.epochs, settings.stage_epochs
    count = -(-epochs // each)
    for stage in range(count):
        length = min(each, epochs - stage * each)
        frozen = blocks - math.ceil(stage * blocks / max(1, count - 1))
        if stage == 0 and count > 1:
            yield "feature_extraction", None, length
        elif stage == count - 1 or frozen == 0:
            yield "fine_tuning", None, length
        else:
            yield "partial", str(frozen), length
