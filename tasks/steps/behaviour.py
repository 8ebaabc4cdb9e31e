"""A part of step 4: how the candidate takes changed held-out rows, and how it treats groups of people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.progress import Wait

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftline.behaviour.bias import Disparity
    from graftline.behaviour.findings import Behaviour, Counted
    from graftline.evaluation.metrics import Floats, Integers
    from graftline.evaluation.task_scores import TaskScores
    from graftline.models.predictor import Predictor
    from graftline.models.preprocessing import Raw
    from graftline.settings.words import Swap


@dataclass(frozen=True)
class FrozenModel:
    """The frozen base model with a solved head, whose biases are those that were inherited."""

    predictions: "Floats"
    """For the held-out rows."""
    predict: "Callable[[Sequence[Raw]], Floats] | None" = None
    """For any inputs; without it, only the groups' rates are compared with it."""


@dataclass(frozen=True)
class Examined:
    """The model that is looked at, and what it says of the held-out rows."""

    predictor: "Predictor"
    raws: "Sequence[Raw]"
    predictions: "Floats"
    targets: "NDArray[Any]"
    task_scores: "TaskScores"


def behaviour_on(
    settings: Settings,
    data: ValidatedData,
    candidate: Examined,
    frozen: FrozenModel | None,
    *,
    together: "Integers | None" = None,
) -> "Behaviour":
    """Everything that the settings ask for. Rows with the same number in `together` (rows,) are not independent."""
    from graftline.behaviour.findings import Behaviour

    directions, unmoved = _directions(settings, candidate)
    disparities, too_small = _groups(settings, data, candidate, frozen, together)
    swapped, unswapped = _swaps(settings, candidate, frozen, together)
    return Behaviour(
        changes=_changes(settings, data, candidate),
        directions=directions,
        disparities=[*disparities, *swapped],
        left_out=[*unmoved, *too_small, *unswapped],
    )


def _changes(settings: Settings, data: ValidatedData, candidate: Examined) -> "list[Counted]":
    from graftline.behaviour.perturbations import changes_of
    from graftline.behaviour.robustness import kept_under_changes, some_rows

    evaluation = settings.evaluation
    rows = some_rows(len(candidate.raws), evaluation.changed_rows, evaluation.seed)
    if not rows:
        return []
    return kept_under_changes(
        candidate.predictor,
        _at(candidate.raws, rows),
        candidate.predictions[rows],
        changes_of(data.kind, sample_bits=data.sample_bits),
        is_same=candidate.task_scores.is_same,
        seed=evaluation.seed,
        passed=Wait("changed inputs").tell,
    )


def _at(raws: "Sequence[Raw]", rows: Sequence[int]) -> "list[Raw]":
    """Those at these places, which rise. Not one by one: each would be read from among many."""
    wanted = iter([*rows, -1])
    place = next(wanted)
    found = []
    for row, raw in enumerate(raws):
        if row == place:
            found.append(raw)
            place = next(wanted)
    return found


def _directions(settings: Settings, candidate: Examined) -> "tuple[list[Counted], list[str]]":
    from graftline.behaviour.robustness import moved_as_directed
    from graftline.settings.words import direction_of

    asked = {text: direction_of(text) for text in settings.evaluation.directions}
    found = {
        text: moved_as_directed(candidate.predictor, candidate.raws, candidate.predictions, direction)
        for text, direction in asked.items()
    }
    return [one for one in found.values() if one], [
        f"no held-out row holds a word of {text!r}" for text, one in found.items() if one is None
    ]


def _groups(
    settings: Settings,
    data: ValidatedData,
    candidate: Examined,
    frozen: FrozenModel | None,
    together: "Integers | None",
) -> "tuple[list[Disparity], list[str]]":
    from graftline.behaviour.bias import SMALLEST_GROUP, group_disparities

    found: list[Disparity] = []
    left_out = []
    for name in settings.evaluation.groups:
        values = read_split(data, "test", [f"slice.{name}"])[f"slice.{name}"]
        disparities = group_disparities(
            candidate.task_scores,
            name,
            values,
            candidate.predictions,
            candidate.targets,
            labels=data.labels,
            frozen=frozen.predictions if frozen else None,
            resamples=settings.evaluation.bootstrap,
            seed=settings.evaluation.seed,
            together=together,
        )
        found += disparities
        if not disparities:
            left_out.append(f"{name}: fewer than two groups have {SMALLEST_GROUP} held-out rows to be compared")
    return found, left_out


def _swaps(
    settings: Settings, candidate: Examined, frozen: FrozenModel | None, together: "Integers | None"
) -> "tuple[list[Disparity], list[str]]":
    from graftline.settings.words import swap_of

    found, left_out = [], []
    for swap in map(swap_of, settings.evaluation.counterfactuals):
        disparity = _swapped(settings, candidate, swap, frozen, together)
        if disparity is None:
            left_out.append(f"no held-out row holds a word of {swap.name}")
        else:
            found.append(disparity)
    return found, left_out


def _swapped(
    settings: Settings, candidate: Examined, swap: "Swap", frozen: FrozenModel | None, together: "Integers | None"
) -> "Disparity | None":
    from graftline.behaviour.bias import swap_disparity
    from graftline.settings.words import with_partners

    texts = ((text, with_partners(text, swap.partners)) for text in candidate.raws)
    found = {row: other for row, (text, other) in enumerate(texts) if other != text}
    if not found:
        return None
    task_scores, spread = candidate.task_scores, candidate.predictor.outputs.spread
    rows, swapped = list(found), list(found.values())
    before, after = candidate.predictions[rows], candidate.predictor.predict(swapped)
    theirs = None
    if frozen is not None and frozen.predict is not None:
        theirs = task_scores.moves(frozen.predictions[rows], frozen.predict(swapped), spread)
    return swap_disparity(
        swap.name,
        task_scores.moves(before, after, spread),
        theirs,
        changed=int((~task_scores.is_same(before, after, spread)).sum()),
        resamples=settings.evaluation.bootstrap,
        seed=settings.evaluation.seed,
        together=None if together is None else together[rows],
    )
