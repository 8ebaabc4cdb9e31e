"""The verdict on a candidate: one pure function of numbers and policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from graftline.metrics import Score
from graftline.scoring import Scoring

VerdictName = Literal["PROMOTE", "HOLD", "REJECT"]


@dataclass(frozen=True)
class Verdict:
    """What shall happen to a candidate, and why."""

    verdict: VerdictName
    reasons: tuple[str, ...]


def decide(
    candidate: Mapping[str, Score],
    *,
    scoring: Scoring,
    difference: Score | None,
    champion: str | None,
    baseline: float,
    floors: Mapping[str, float],
    obstacles: Sequence[str],
) -> Verdict:
    """Judge a candidate.

    `difference` is its primary score minus the champion's on the same rows, None if there is no champion. A missed
    floor, or a model that does not even beat the `baseline`'s primary score, is rejected whatever else holds.
    `obstacles` are reasons why it must not be promoted although its numbers may be good.
    """
    faults = [
        f"{name} {candidate[name].value:.4f} is below its floor {floor:.4f}"
        for name, floor in sorted(floors.items())
        if not candidate[name].value >= floor  # so put that a NaN misses it
    ]
    primary = scoring.primary
    if not candidate[primary].value > baseline:
        value = candidate[primary].value
        faults.append(f"{primary} {value:.4f} does not beat {scoring.baseline} {baseline:.4f}")
    seen = None if difference is None else _shown(primary, difference)
    if difference is not None and difference.high < 0:
        faults.append(f"worse than champion {champion}: {seen}")
    if faults:
        return Verdict("REJECT", tuple(faults))
    if obstacles:
        return Verdict("HOLD", tuple(obstacles))
    if difference is None:
        return Verdict("PROMOTE", ("the first model, and it reaches every floor",))
    if not difference.low > 0:
        return Verdict("HOLD", (f"not enough evidence against champion {champion}: {seen}",))
    return Verdict("PROMOTE", (f"better than champion {champion}: {seen}",))


def _shown(name: str, difference: Score) -> str:
    return (
        f"{name} {difference.value:+.4f} on the same rows, 95 % interval"
        f" {difference.low:+.4f} to {difference.high:+.4f}"
    )
