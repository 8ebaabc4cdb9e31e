"""How often a model does what it should where its input was changed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graftline.behaviour.findings import Counted, counted
from graftline.behaviour.perturbations import Change
from graftline.evaluation.metrics import Floats
from graftline.evaluation.task_scores import SameAnswer
from graftline.models.predictor import Predictor
from graftline.models.preprocessing import Raw
from graftline.settings.words import Direction, with_partners


def some_rows(rows: int, most: int, seed: int) -> list[int]:
    """At most so many places of rows, drawn at random, in order."""
    return sorted(np.random.default_rng(seed).permutation(rows)[:most].tolist())


def kept_under_changes(
    predictor: Predictor,
    raws: Sequence[Raw],
    predictions: Floats,
    changes: Mapping[str, Change],
    *,
    is_same: SameAnswer,
    seed: int,
    passed: Callable[[int, int], None] = lambda _, __: None,
) -> list[Counted]:
    """For each change, how many inputs get the answer that they got as they were, which is `predictions`.

    `passed` is told after each change how many inputs of how many were asked.
    """
    found: list[Counted] = []
    for name, change in changes.items():
        changed = [change(raw, np.random.default_rng([seed, place])) for place, raw in enumerate(raws)]
        kept = is_same(predictions, predictor.predict(changed), predictor.outputs.spread)
        found.append(counted(name, kept))
        passed(len(found) * len(raws), len(changes) * len(raws))
    return found


def moved_as_directed(
    predictor: Predictor, texts: Sequence[str], predictions: Floats, direction: Direction
) -> Counted | None:
    """How many texts with one of the two words move as the settings say when the other takes its place.

    None where no text holds either. An answer that does not move at all is wrong.
    """
    name = f"{direction.more} > {direction.less}" + (f": {direction.label}" if direction.label else "")
    column = predictor.outputs.labels.index(direction.label) if direction.label else 0
    changed: list[str] = []
    wanted: list[tuple[int, int]] = []
    for sign, word, other in ((-1, direction.more, direction.less), (1, direction.less, direction.more)):
        for place, text in enumerate(texts):
            if (replaced := with_partners(text, {word.lower(): other})) != text:
                changed.append(replaced)
                wanted.append((place, sign))
    if not changed:
        return None
    places, signs = (np.array(values) for values in zip(*wanted, strict=True))
    moved = predictor.predict(changed)[:, column] - predictions[places, column]
    return counted(name, np.asarray(moved * signs > 0))
