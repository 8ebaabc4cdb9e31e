"""How far real sets of rows lie apart, how often halves of one set are taken for two, and what a distance foretells.

Usage: python -m benchmarks.scores.distance --data FOLDER [--kinds text image audio] [--seeds N ...]

`--data` is a folder with the unpacked packages that benchmarks/scores/shifts.py names. Each set is run through its base
model once; each seed draws the halves that are compared. What is known is kept in a JSON file beside the page as soon
as a kind of input is done: a killed run goes on where it stopped.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from benchmarks.scores.defaults import BASE_MODELS
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads
from benchmarks.scores.seeds import SEEDS
from benchmarks.scores.shifts import PLACES, known_rows
from graftline.models.outputs import Outputs
from graftline.settings import Kind
from graftline.training.linear_head import solve_head
from graftline.training.single_label import objective_for
from graftline.transfer.agreement import Agreement, agreement
from graftline.transfer.distances import MEASURES, Distance, Distances, distances
from graftline.transfer.two_samples import Vectors

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "distance.md"
THREADS = 1
# Of each set; a half of them is compared with a half of another set, or with the other half.
ROWS: Mapping[Kind, int] = {"text": 600, "image": 200, "audio": 240}
# Each set beside those of other places.
PAIRS: Mapping[Kind, Sequence[tuple[str, str]]] = {
    "text": [
        ("film reviews", "product reviews"),
        ("product reviews", "film reviews"),
        ("NYT editorials", "tweets"),
        ("tweets", "NYT editorials"),
    ],
    "image": [("digits", place) for place in PLACES if place.startswith("digits, ")],
    "audio": [("voice of Carlo", "voice of Menardi"), ("voice of Menardi", "voice of Carlo")],
}
# Splits into halves of so many rows; with 39 divisions a p-value of 5 % is met as exactly as with 199.
SPLITS, SPLIT_ROWS, DIVISIONS = 200, 200, 39
VALIDATION_SHARE = 0.2

HEAD_OF_PAGE = """# How far from home
What the distances of `graftline distance` say of real sets of rows. Each set is run through an untouched base model
once, in float32; each of five seeds draws halves of it. A half of one set stands beside a half of another (text 300
rows, image 100, audio 120 on either side), and beside the other half of the same set. Made by
`python -m benchmarks.scores.distance`, in whose first lines stands where the rows come from; one thread on a machine
of two cores. The script with more rows is what is to be had where there is more time.

In short: halves of one set are taken for two as often as is said, in one of twenty splits; each real shift is seen with
each seed, and other digits of the same making are not. Where rows lie further apart a head does worse there, for texts
and pictures; of the two voices there are too few pairs to say.
"""
SHIFTS = """Means over the seeds; in brackets what nineteen in twenty divisions of the same rows stay below. *Drop*: how
much less often a head is right about the target's rows that learned from the source's instead of as many of the
target's, in points of accuracy. Texts say whether a text is positive or negative, digits which one they are, voices
whether a number, a letter, a spelling word or something else is said."""
ALARMS_IN_WORDS = """Of 200 random splits of 200 rows of one set into halves so many were taken for different at 5 %,
with their 95 % interval (Wilson). Each by 39 divisions, which is too few for Holm's correction over the three."""
DROPS = """Kendall's tau (weighted) between distance and drop over these pairs and seeds, with its interval over
pairs. Where it includes zero, the distance foretells nothing there yet."""


@dataclass(frozen=True)
class Beside:
    """A half of a set beside a half of another, or of the same."""

    source: str
    target: str
    seed: int
    distances: Distances
    drop: float
    """How much less often a head is right about the target's half that learned from the source's, not the target's."""


@dataclass(frozen=True)
class Kept:
    """All that is known so far."""

    besides: list[Beside] = field(default_factory=list)
    alarms: dict[str, dict[str, int]] = field(default_factory=dict)
    """By set, how many of the splits into halves each measure took for different."""


@dataclass(frozen=True)
class Rows:
    """What a base model makes of a set, and the labels as numbers."""

    vectors: Vectors
    targets: "np.ndarray[Any, np.dtype[np.int64]]"

    def half(self, seed: int, second: bool) -> "Rows":
        """One of two random halves."""
        order = np.random.default_rng(seed).permutation(len(self.targets))
        half = len(order) // 2
        chosen = order[half : 2 * half] if second else order[:half]
        return Rows(self.vectors[chosen], self.targets[chosen])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--features", type=Path, help="where features are kept for the next time")
    parser.add_argument("--kinds", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    chosen = parser.parse_args(arguments)
    use_threads(THREADS)
    kept = KeptPage(chosen.output, Kept, {"rows": dict(ROWS), "splits": SPLITS, "threads": THREADS})
    known = kept.read(Kept())
    with tempfile.TemporaryDirectory() as scratch:
        for kind in chosen.kinds:
            rows = rows_of(kind, chosen.data, chosen.features or Path(scratch), Path(scratch))
            _measure(known, kept, kind, rows, chosen.seeds)
            kept.write(page(known))
    kept.write(page(known))
    return 0


def rows_of(kind: Kind, data: Path, features: Path, scratch: Path) -> dict[str, Rows]:
    """The sets of a kind, as the base model reads some of their rows."""
    base, names = BASE_MODELS[kind](data, scratch), [name for name, place in PLACES.items() if place.kind == kind]
    known = {name: known_rows(name, base, data, features, ROWS[kind]) for name in names}
    labels = sorted({label for one in known.values() for label in one.labels})
    return {
        name: Rows(one.vectors, np.array([labels.index(label) for label in one.labels])) for name, one in known.items()
    }


def _measure(known: Kept, kept: KeptPage[Kept], kind: Kind, rows: Mapping[str, Rows], seeds: Sequence[int]) -> None:
    done = {(one.source, one.target, one.seed) for one in known.besides}
    for seed in seeds:
        for source, target in [*((name, name) for name in rows), *PAIRS[kind]]:
            if (source, target, seed) not in done:
                known.besides.append(beside(rows, source, target, seed))
                kept.keep(known, f"{source} beside {target}, seed {seed}")
    for name in rows:
        if name not in known.alarms:
            known.alarms[name] = alarms(rows[name].vectors)
            kept.keep(known, f"{name}: {known.alarms[name]} alarms")


def beside(rows: Mapping[str, Rows], source: str, target: str, seed: int) -> Beside:
    """The first half of one set beside the second of another: where both are one set, no row is on both sides."""
    first, second = rows[source].half(seed, second=False), rows[target].half(seed, second=True)
    apart = distances(first.vectors, second.vectors, seed=seed)
    own = rows[target].half(seed, second=False)
    drop = accuracy(own, second) - accuracy(first, second)
    return Beside(source, target, seed, apart, drop)


def alarms(vectors: Vectors) -> dict[str, int]:
    """How many of the splits of these rows into halves each measure takes for two sets."""
    found = dict.fromkeys(map(str, MEASURES), 0)
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(vectors))[:SPLIT_ROWS]
        half = len(order) // 2
        seen = distances(vectors[order[:half]], vectors[order[half:]], seed=split, divisions=DIVISIONS)
        for name, one in seen.of.items():
            found[name] += one.is_alarm
    return found


def accuracy(learn: Rows, judge: Rows) -> float:
    """Of a head that is solved on some rows, its penalty chosen on a part of them, about others."""
    labels = int(max(learn.targets.max(), judge.targets.max())) + 1
    outputs = Outputs("single_label", tuple(map(str, range(labels))))
    features, targets = torch.from_numpy(learn.vectors), torch.from_numpy(learn.targets)
    held = round(VALIDATION_SHARE * len(targets))
    objective = objective_for(outputs, targets[held:])
    validation = features[:held], targets[:held]
    solved = solve_head(features[held:], targets[held:], validation=validation, outputs=labels, objective=objective)
    said: Tensor = torch.from_numpy(judge.vectors) @ solved.weight.float().T + solved.bias.float()
    return float((said.argmax(1).numpy() == judge.targets).mean())


def page(known: Kept) -> str:
    """The page, with what is known."""
    return "\n".join([HEAD_OF_PAGE, *_shifts(known), *_alarms(known), *_drops(known)])


def _shifts(known: Kept) -> list[str]:
    rows = ["## Real shifts", SHIFTS, ""]
    rows += [f"| source | target | told apart | {' | '.join(MEASURES.values())} | seeds that differ | drop |"]
    rows += ["| --- " * (len(MEASURES) + 5) + "|"]
    for source, target in dict.fromkeys((one.source, one.target) for one in known.besides):
        seen = [one for one in known.besides if (one.source, one.target) == (source, target)]
        cells = [
            source,
            "its other half" if target == source else target,
            f"{statistics.mean(one.distances.told_apart for one in seen):.0%}",
            *(_mean([one.distances.of[name] for one in seen]) for name in MEASURES),
            f"{sum(one.distances.differ for one in seen)} of {len(seen)}",
            f"{statistics.mean(one.drop for one in seen):+.3f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return [*rows, ""]


def _mean(seen: Sequence[Distance]) -> str:
    value, usual = (
        statistics.mean(values) for values in zip(*((one.value, one.usual_high) for one in seen), strict=True)
    )
    return f"{value:.3g} ({usual:.3g})"


def _alarms(known: Kept) -> list[str]:
    if not known.alarms:
        return []
    rows = ["## Alarms", ALARMS_IN_WORDS, ""]
    rows += [f"| set | {' | '.join(MEASURES.values())} |", "| --- " * (len(MEASURES) + 1) + "|"]
    for place, counts in known.alarms.items():
        rows.append(f"| {place} | {' | '.join(_share(counts[name], SPLITS) for name in MEASURES)} |")
    sums = {name: sum(counts[name] for counts in known.alarms.values()) for name in MEASURES}
    rows.append(f"| all | {' | '.join(_share(sums[name], SPLITS * len(known.alarms)) for name in MEASURES)} |")
    return [*rows, ""]


def _share(count: int, of: int) -> str:
    found = binomtest(count, of).proportion_ci(0.95, "wilson")
    return f"{count / of:.1%} ({found.low:.1%} to {found.high:.1%})"


def _drops(known: Kept) -> list[str]:
    rows = ["## Does a distance foretell how much worse a head is there?", DROPS, ""]
    rows += ["| kind | pairs | " + " | ".join(MEASURES.values()) + " |", "| --- " * (len(MEASURES) + 2) + "|"]
    for kind in PAIRS:
        seen = [one for one in known.besides if PLACES[one.source].kind == kind]
        if seen:
            pairs = [f"{one.source} {one.target}" for one in seen]
            taus = [
                agreement([one.distances.of[name].value for one in seen], [one.drop for one in seen], pairs)
                for name in MEASURES
            ]
            rows.append(f"| {kind} | {len(set(pairs))} | {' | '.join(map(tau_in_words, taus))} |")
    return [*rows, ""]


def tau_in_words(found: Agreement) -> str:
    """With its interval; where there is nothing to order, a dash."""
    return "-" if found.tau is None else f"{found.tau:.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
