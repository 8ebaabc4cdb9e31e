"""Ways into a target domain without its labels, on real pairs of domains: solved heads on stored features.

Usage: python -m benchmarks.scores.domains --packages FOLDER [--only NAME] [--seeds N ...]

Each seed draws the sides of the source, and which half of the target is seen without labels; the other half judges.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.problems.domain_shifts import SHIFTS, Labelled, Shift
from benchmarks.scores.domain_choices import PARTS, VALIDATORS
from benchmarks.scores.intervals import half_interval
from benchmarks.scores.kept_page import KeptPage, page_options, write_between
from graftline.frozen.rows import FeatureRows
from graftline.models.batching import sorted_batches
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.training.domain.adaptation import WAYS as CHOSEN_FROM
from graftline.training.domain.choice import Way, chosen_way, learned_from
from graftline.training.domain.self_training import Solve, probabilities_of
from graftline.training.linear_head import SolvedHead, solve_head
from graftline.training.single_label import OneLabel

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "domains.md"
SEEDS = (0, 1, 2, 3, 4)
WAYS: tuple[Way, ...] = ("none", "coral", "self_training")
HEADS = (
    ("from and to", "seeds", "at home", "plain training there", *WAYS[1:], "auto", "with its labels"),
    ("from and to", "coral", *PARTS),
    ("from and to", "circular, as for `auto`", *VALIDATORS),
)
TRAIN_SHARE, VALIDATION_SHARE, UPPER_VALIDATION = 0.7, 0.15, 0.2
BATCH = 64


@dataclass(frozen=True)
class Found:
    """One seed: accuracies on the rows that judge in the target domain."""

    source: float
    """Of the plain head on the source's validation rows."""
    ways: Mapping[str, float]
    upper: float
    """Of a head that learns from the labels of the target's half."""
    auto: str
    of_all: str
    """What it would have chosen with CORAL among the ways."""
    circular: Mapping[str, float]
    """The scores without labels by which `auto` chooses."""
    parts: Mapping[str, float]
    """Of heads that learned from a part of CORAL's map alone."""
    unlabelled: Mapping[str, Mapping[str, float]]
    """Of each way by other scores that need no labels of the target domain."""


@dataclass(frozen=True)
class Sides:
    """The rows of one seed: what a way sees of both domains, and the half of the target that judges."""

    rows: Mapping[str, FeatureRows]
    judging: FeatureRows
    classes: int


def features_of(shift: Shift, packages: Path, kept: Path) -> dict[str, Tensor]:
    """What the base model gives to a head of the rows of both domains, and their labels; computed once."""
    file = kept / f"{shift.name.replace(' ', '_')}.npz"
    if not file.exists():
        base = shift.base(packages, kept)
        source, target = shift.read(packages)
        arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
        for name, rows in (("source", source), ("target", target)):
            arrays[name] = _vectors(shift, base, rows).numpy()
            arrays[f"{name}_labels"] = np.array(rows[1], dtype=np.float32)
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for options
    with np.load(file, allow_pickle=False) as held:
        return {name: torch.from_numpy(held[name].astype(np.float32)) for name in held.files}


def _vectors(shift: Shift, base: Path, rows: Labelled) -> Tensor:
    preprocessor = load_preprocessor(base, shift.reading)
    model = load_base(base, Outputs("single_label", ("a", "b")), reading=shift.reading, seed=0).eval()
    encoded = preprocessor.encode(rows[0])
    lengths = [preprocessor.length(row) for row in encoded]
    vectors = torch.empty(0)
    with torch.inference_mode():
        for batch in sorted_batches(lengths, BATCH):
            part = model.features(**preprocessor.collate([encoded[row] for row in batch]))
            vectors = vectors if len(vectors) else torch.empty(len(encoded), part.shape[1])
            vectors[batch] = part
    return vectors


def found(features: Mapping[str, Tensor], seed: int) -> Found:
    """All ways of one seed."""
    sides = sides_of(features, seed)
    rows, judging = sides.rows, sides.judging
    plain = solver(sides)(rows["train"])
    solve = solver(sides, plain.penalty)
    heads = {way: solve(learned_from(way, rows, solve)) for way in WAYS}
    choice = chosen_way(rows, solve, CHOSEN_FROM)
    of_all = chosen_way(rows, solve, WAYS)
    return Found(
        source=accuracy(plain, rows["validation"]),
        ways={way: accuracy(head, judging) for way, head in heads.items()},
        upper=accuracy(_upper(sides), judging),
        auto=choice.way,
        of_all=of_all.way,
        circular={str(way): score for way, score in of_all.scores.items()},
        parts=parts_of(sides, solve),
        unlabelled=unlabelled(heads, rows["target"]),
    )


def parts_of(sides: Sides, solve: Solve) -> dict[str, float]:
    """What a part of CORAL's map is worth; one of them knows the shares of the target's labels."""
    return {name: accuracy(solve(part(sides.rows)), sides.judging) for name, part in PARTS.items()}


def unlabelled(heads: Mapping[Way, SolvedHead], target: FeatureRows) -> dict[str, dict[str, float]]:
    """What each validator says of the head of each way."""
    answers = {str(way): probabilities_of(head, target.features) for way, head in heads.items()}
    return {name: {way: score(rows) for way, rows in answers.items()} for name, score in VALIDATORS.items()}


def sides_of(features: Mapping[str, Tensor], seed: int) -> Sides:
    """What the seed draws."""
    drawn = torch.Generator().manual_seed(seed)
    source, target = (_shuffled(features, name, drawn) for name in ("source", "target"))
    count, half = len(source.targets), len(target.targets) // 2
    first, last = round(TRAIN_SHARE * count), round((TRAIN_SHARE + VALIDATION_SHARE) * count)
    rows = {
        "train": _part(source, 0, first),
        "validation": _part(source, first, last),
        "target": _part(target, 0, half),
    }
    return Sides(rows, _part(target, half, 2 * half), int(source.targets.max()) + 1)


def _upper(sides: Sides) -> SolvedHead:
    """The head that learns from the labels of the target's half."""
    labelled = sides.rows["target"]
    half = len(labelled.targets)
    held = round(UPPER_VALIDATION * half)
    chosen = replace(sides, rows={"validation": _part(labelled, 0, held)})
    return solver(chosen)(_part(labelled, held, half))


def _shuffled(features: Mapping[str, Tensor], name: str, drawn: torch.Generator) -> FeatureRows:
    order = torch.randperm(len(features[name]), generator=drawn)
    return FeatureRows(features[name][order], features[f"{name}_labels"][order].long())


def _part(rows: FeatureRows, first: int, last: int) -> FeatureRows:
    return FeatureRows(rows.features[first:last], rows.targets[first:last])


def solver(sides: Sides, penalty: float | None = None) -> Solve:
    """Solves the best head for some rows; without a penalty the validation rows choose one."""
    held = sides.rows["validation"]

    def solve(rows: FeatureRows) -> SolvedHead:
        return solve_head(
            rows.features,
            rows.targets,
            validation=(held.features, held.targets),
            outputs=sides.classes,
            objective=OneLabel(),
            penalty=penalty,
        )

    return solve


def accuracy(head: SolvedHead, rows: FeatureRows) -> float:
    """The share of the rows that the head is right on."""
    return float((probabilities_of(head, rows.features).argmax(1) == rows.targets).double().mean())


def page(known: Mapping[str, Sequence[Found]]) -> str:
    """The tables, one line for each shift."""
    lines, parts, chosen = [_head(HEADS[0])], [_head(HEADS[1])], [_head(HEADS[2])]
    for name, seen in known.items():
        plain = [one.ways["none"] for one in seen]
        cells = [name, str(len(seen)), mean([one.source for one in seen]), mean(plain)]
        cells += [gain([one.ways[way] for one in seen], plain) for way in WAYS[1:]]
        cells += [gain([one.ways[one.auto] for one in seen], plain), mean([one.upper for one in seen])]
        lines.append(_line(cells))
        coral = gain([one.ways["coral"] for one in seen], plain)
        parts.append(_line([name, coral, *(gain([one.parts[part] for one in seen], plain) for part in PARTS)]))
        circular = [one.of_all for one in seen]
        picks = {"circular": circular, **{of: [_best(one.unlabelled[of]) for one in seen] for of in VALIDATORS}}
        chosen.append(_line([name, *(_picked(ways, seen, plain) for ways in picks.values())]))
    what = [f"- *{shift.name}*: {shift.what}." for shift in SHIFTS if shift.name in known]
    return "\n".join([*lines, "", *what, "", *parts, "", *chosen, ""])


def _head(names: Sequence[str]) -> str:
    return f"{_line(names)}\n{_line(['---'] * len(names))}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda way: scores[way])


def _picked(ways: Sequence[str], seen: Sequence[Found], plain: Sequence[float]) -> str:
    """How often each way was chosen, and what that gained."""
    counts = ", ".join(f"{way} {ways.count(way)}" for way in WAYS if way in ways)
    return f"{counts}: {gain([one.ways[way] for one, way in zip(seen, ways, strict=True)], plain)}"


def mean(values: Sequence[float]) -> str:
    """Of accuracies, in words."""
    return f"{100 * statistics.mean(values):.1f} %"


def gain(values: Sequence[float], plain: Sequence[float]) -> str:
    """The mean gain in points, paired by seed, with its 95 % interval by Student's t."""
    gains = [100 * (ours - theirs) for ours, theirs in zip(values, plain, strict=True)]
    if len(gains) < 2:
        return f"{gains[0]:+.1f}"
    reach = half_interval(gains)
    return f"{statistics.mean(gains):+.1f} ± {reach:.1f}"


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--packages", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--kept", type=Path, required=True, help="a folder for features")
    parser.add_argument("--only", help="the name of one shift")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.kept.mkdir(parents=True, exist_ok=True)
    kept = KeptPage(options.output, dict[str, dict[str, Found]])
    known = kept.read({})
    for shift in SHIFTS:
        features = None
        for seed in options.seeds if options.only in (None, shift.name) else ():
            of_shift = known.setdefault(shift.name, {})
            if str(seed) not in of_shift:
                features = features or features_of(shift, options.packages, options.kept)
                of_shift[str(seed)] = found(features, seed)
                kept.keep(known, f"{shift.name}, seed {seed}: {of_shift[str(seed)]}")
    seen = {name: list(seeds.values()) for name, seeds in known.items() if seeds}
    write_between(options.output, "benchmarks.scores.domains", page(seen))


if __name__ == "__main__":
    main()
