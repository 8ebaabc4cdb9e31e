"""Whether the block that gradients advise is the right one: fine-tunings of one base model at several depths."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from graftline.errors import SettingsError
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.points import PRETRAINING, Point, Tuned, fine_tune_each
from graftline.tasks.ranking.tuning import FROM_RANDOM_HEAD, Tuning, setting_of
from graftline.tasks.steps.choose_runtime import chosen_runtime
from graftline.tasks.workers.fanout import settled
from graftline.tasks.workspace import Workspace

# With that of the head alone, below which nothing is said.
FEWEST_DEPTHS = 3
# What is tuned in them is all that lies behind the freeze point.
COMPARED = (*FROM_RANDOM_HEAD, "probe_then_fine_tune")
Verdict = Literal["unknown", "undecided", "best", "not shown worse", "worse"]


@dataclass(frozen=True)
class DepthCheck:
    """What fine-tunings at several depths say of the advised one."""

    came: Mapping[int, float]
    """By the place of the first block that was tuned, from 0: the score on the validation rows. They differ in nothing
    else."""
    verdict: Verdict
    sentence: str


def check_depths(tuning: Tuning, points: Sequence[Point]) -> DepthCheck:
    """By the largest set of fine-tunings of the base model that differ in nothing but their depth.

    Two of them are told apart where they differ by more than half of the interval of a score on these validation rows.
    """
    came, head = _came(tuning, points), tuning.base.last.head
    if tuning.first is None or tuning.first not in came or len(came) + 1 < FEWEST_DEPTHS:
        return DepthCheck(came, "unknown", _what_lacks(came))
    margin = (head.high - head.low) / 2
    verdict = _verdict(came, tuning.first, margin=margin)
    return DepthCheck(came, verdict, _in_words(came, tuning.first, verdict, margin=margin))


def train_at_depths(
    workspace: Workspace, settings: Settings, data: ValidatedData, tuning: Tuning, *, say: Callable[[str], None]
) -> None:
    """Fine-tune the base model from the advised block on, and with a quarter, a half, three quarters and all of them.

    Each with the same epochs, rates and rows. Nothing is registered; `adapt` with such settings finds its training
    done. Raises: SettingsError if there are no blocks; what `require_depths` raises.
    """
    require_depths(settings)
    chosen, count = settings.adaptation, len(tuning.gradients)
    if not count:
        raise SettingsError(f"--depths: {tuning.sentence}")

    def begun() -> Iterator[Tuned]:
        for first in places_to_train(count, tuning.first):
            say(f"tuning {tuning.base.uri}, {_named(first)}: {chosen.epochs} epochs")
            # The gradients are of the base model as it is locked.
            changed = chosen.model_copy(update={**setting_of(chosen, first), PRETRAINING: 0})
            base = tuning.base.seen.base
            yield Tuned(base, settled(chosen_runtime(workspace, changed, data, base)))

    fine_tune_each(workspace, settings, data, begun())


def require_depths(settings: Settings) -> None:
    """Raises: SettingsError if the strategy tunes something else than all that lies behind a freeze point."""
    strategy = settings.adaptation.strategy
    if strategy not in COMPARED:
        raise SettingsError(
            f"--depths: adaptation.strategy is {strategy}, expected one of {', '.join(COMPARED)}, which tune all that"
            " lies behind a freeze point; --set adaptation.strategy=probe_then_fine_tune"
        )


def places_to_train(count: int, advised: int | None) -> list[int]:
    """The places of the first blocks to tune, of so many: few blocks first, the head alone being known already."""
    from graftline.frozen.depths import SHARES

    places = {round((1 - share) * count) for share in (*SHARES, 1.0)} | ({advised} if advised is not None else set())
    return sorted((place for place in places if place < count), reverse=True)


def _came(tuning: Tuning, points: Sequence[Point]) -> dict[int, float]:
    blocks = tuple(one.block for one in tuning.gradients)
    found: defaultdict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for point in points:
        if point.base_digest == tuning.base.seen.base.digest and point.strategy in COMPARED:
            with suppress(SettingsError):  # of another `block_pattern`
                found[point.series].setdefault(_place(point, blocks), point.value)
    return max(found.values(), key=len, default={})


def _place(point: Point, blocks: tuple[str, ...]) -> int:
    from graftline.frozen.freezing import named_block

    return 0 if point.freeze_until is None else blocks.index(named_block(point.freeze_until, blocks))


def _verdict(came: Mapping[int, float], advised: int, *, margin: float) -> Verdict:
    best = max(came.values())
    if best - min(came.values()) <= margin:
        return "undecided"
    if came[advised] == best:
        return "best"
    return "not shown worse" if best - came[advised] <= margin else "worse"


def _what_lacks(came: Mapping[int, float]) -> str:
    depths = len(came) + 1
    few = f"this base model was trained at {depths} of {FEWEST_DEPTHS} depths here, the head alone counted"
    lacking = few if depths < FEWEST_DEPTHS else f"none of {len(came)} fine-tunings here is of the advised depth"
    return f"the advice means nothing shown here yet: {lacking}; `graftline rank --depths` trains what lacks"


def _in_words(came: Mapping[int, float], advised: int, verdict: Verdict, *, margin: float) -> str:
    best = max(came, key=lambda place: (came[place], place))
    within = f"±{margin:.4f}, the interval of one score"
    said: dict[Verdict, str] = {
        "undecided": f"{len(came)} fine-tunings came to {min(came.values()):.4f} to {came[best]:.4f}, within {within}:"
        " these rows tell no depth from another, which says nothing for the advice or against it",
        "best": f"the advised depth is the best of {len(came)} that were fine-tuned ({came[advised]:.4f})",
        "not shown worse": f"the advised depth came to {came[advised]:.4f}, the best of {len(came)}, {_named(best)}, to"
        f" {came[best]:.4f}: not shown worse, within {within}",
        "worse": f"it speaks against the advice: the advised depth came to {came[advised]:.4f}, {_named(best)} to"
        f" {came[best]:.4f}, by more than {within}",
    }
    return said[verdict]


def _named(place: int) -> str:
    return f"from block {place + 1} on" if place else "all of it"
