"""The way into the target domain, chosen without its labels, from stored features alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.domain.coral import alignment
from graftline.training.domain.self_training import Solve, probabilities_of, pseudo_labels, with_labelled

Features = Mapping[str, FeatureRows]
Way = Literal["none", "coral", "self_training"]


@dataclass(frozen=True)
class Choice:
    """The way that was chosen, and the scores that say so."""

    way: Way
    scores: Mapping[Way, float]
    rows: int
    """How many labelled rows of the source the scores are of."""

    @property
    def said(self) -> str:
        """In words."""
        shown = ", ".join(f"{way} {score:.4f}" for way, score in self.scores.items())
        return f"circular validation on {self.rows:,} validation rows without labels of the target domain ({shown})"


def chosen_way(features: Features, solve: Solve, ways: Sequence[Way]) -> Choice:
    """The way with the best circular score; `none` unless another one is better by more than its standard error.

    Circular validation (Bruzzone and Marconcini 2010, doi 10.1109/TPAMI.2009.57; reverse validation in arXiv
    1505.07818, section 5.1.2): a head goes the way into the target domain and labels its rows; from these labels
    another goes the same way back, and is scored on labelled rows of the source. Unlike entropy, mutual information or
    the density of answers (validators compared in arXiv 2208.07360) it is not raised by answers that are merely surer,
    as self-training makes them; it is one of the scorers of arXiv 2407.11676.
    """
    held = features["validation"]
    hits = {way: (_there_and_back(way, features, solve) == held.targets).double() for way in ways}
    scores: dict[Way, float] = {way: float(right.mean()) for way, right in hits.items()}
    best = max(ways, key=lambda way: scores[way])
    gained = hits[best] - hits["none"]
    error = float(gained.std(correction=0)) / max(1, len(gained)) ** 0.5
    return Choice(best if float(gained.mean()) > error else "none", scores, len(held.targets))


def _there_and_back(way: Way, features: Features, solve: Solve) -> Tensor:
    """The labels that the source's validation rows get from a head that was taught by the target domain's: (rows,)."""
    there = solve(learned_from(way, features, solve))
    target = features["target"].features
    taught = FeatureRows(target, probabilities_of(there, target).argmax(1))
    source = features["train"].in_epoch(0)
    back = solve(learned_from(way, {"train": taught, "target": source}, solve))
    return probabilities_of(back, features["validation"].features).argmax(1)


def learned_from(way: Way, features: Features, solve: Solve) -> FeatureRows:
    """The rows that a head learns from on this way."""
    train, target = features["train"], features["target"]
    if way == "coral":
        return FeatureRows(alignment(train.features, target.features).of(train.features), train.targets, train.views)
    if way == "self_training":
        chosen, labels = pseudo_labels(features, solve)
        return with_labelled(train, target.features[chosen], labels)
    return train


def aligned(features: Features) -> dict[str, FeatureRows]:
    """The labelled rows with features as those of `target` are (CORAL)."""
    onto = alignment(features["train"].features, features["target"].features)
    return {
        side: FeatureRows(onto.of(rows.features), rows.targets, rows.views)
        for side, rows in features.items()
        if side != "target"
    }
