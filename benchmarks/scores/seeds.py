"""Full fine-tuning on the reviews over several seeds: the recipe of params.yaml against transformers' Trainer.

Usage: python -m benchmarks.scores.seeds [--seeds N ...] [--strategies NAME ...] [--rows N] [--threads N]

Both learn from the same training rows for as many epochs, and are judged by the same held-out rows. The validation
rows choose ours its epochs, and Trainer its recipe, once, with the first seed. Each training is kept in a JSON file
beside the page as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

import numpy as np
import torch
import transformers
from scipy import stats

from benchmarks.problems.problem import Labelled, Task
from benchmarks.scores.kept_page import KeptPage, page_options, prefect_server, use_threads
from benchmarks.scores.projects import adapt_in, kept_project, validated
from benchmarks.scores.real_projects import REVIEW_PROJECT, review_settings
from benchmarks.scores.strategies import FOLDER
from benchmarks.sides.trainer import Recipe, trained_text
from graftline.models.preprocessing import Reading
from graftline.settings import parse_settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import raw_inputs, split_targets
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "seeds.md"
SEEDS = (0, 1, 2, 3, 4)
# Both train all weights, one with a head that was solved before.
STRATEGIES = ("fine_tuning", "probe_then_fine_tune")
RATES = (5e-5, 1e-4)
HEAD_OF_PAGE = """# Full fine-tuning over seeds, against Trainer
{epochs} epochs of the reviews, {train} training rows, judged by {test} held-out rows, which chose nothing.
- **Ours**: `adapt` with `params.yaml` and each strategy: {precision}, batch {batch_size}, rates {learning_rate:g} and,
  for the head, {head_learning_rate:g}, label smoothing {label_smoothing:g}, average of epochs {average}. {validation}
  validation rows choose among the epochs.
- **Trainer**: transformers' `Trainer` on the same training rows; of these recipes the one with the highest accuracy on
  the validation rows with seed {first}, its last epoch as Trainer leaves it:

| recipe | validation accuracy |
| --- | --- |
{recipes}

Each seed decides the new head, the order of the rows and dropout; the split never changes. Made by
`python -m benchmarks.scores.seeds`.

| seed | {strategies} | Trainer |
{rule}
{seeds}
"""
PAIRED = """
Mean difference to Trainer by seed (paired t, {count} seeds; about seeds on these held-out rows, not about other rows):
"""
DIFFERENCE = "- {strategy}: {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}\n"


@dataclass(frozen=True)
class Runs:
    """All that is known so far: accuracies, of recipes on the validation rows and of seeds on the held-out rows."""

    recipes: dict[str, float] = field(default_factory=dict)
    ours: dict[str, float] = field(default_factory=dict)
    """By strategy and seed, as "STRATEGY; seed N"."""
    trainer: dict[str, float] = field(default_factory=dict)
    """By recipe and seed, as "RECIPE; seed N"."""
    split_rows: dict[str, int] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(chosen.threads)
    transformers.logging.disable_progress_bar()
    root = (chosen.folder / f"{REVIEW_PROJECT.name}-seeds-{chosen.rows or 'all'}").absolute()
    kept_project(root, lambda folder: REVIEW_PROJECT.write(folder, chosen.rows))
    with prefect_server():
        _Comparison(root, chosen.output, chosen.threads).run(chosen.seeds, chosen.strategies)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, choices=STRATEGIES)
    parser.add_argument("--rows", type=int, help="rows in all, held-out ones included")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the project lies")
    return parser


class _Comparison:
    """Both sides in the project `root`."""

    def __init__(self, root: Path, output: Path, threads: int) -> None:
        self.root, self.threads = root, threads
        self.tree = review_settings()
        self.settings = parse_settings(self.tree, source=root.name)
        data = validated(root, self.settings)
        shared = {name: value for name, value in self.tree["adaptation"].items() if name != "strategy"}
        self.kept = KeptPage(output, Runs, {"rows": data.accepted, "adaptation": shared, "threads": threads})
        self.runs = self.kept.read(Runs())
        self.runs.split_rows.update(data.split_rows)
        base = fetch_model.fn(Workspace(root), self.settings.base_model.uri)
        sides = {
            split: Labelled(raw_inputs(Workspace(root), data, split), split_targets(data, split).tolist())
            for split in ("train", "validation", "test")
        }
        reading = Reading("text", self.settings.adaptation.max_tokens)
        self.task = Task(base.path, reading, data.labels, sides["train"], sides["test"])
        self.validation = sides["validation"]

    def run(self, seeds: Sequence[int], strategies: Sequence[str]) -> None:
        """All that is not known yet."""
        best = self._best_recipe(seeds[0])
        for seed in seeds:
            for strategy in strategies:
                if trained_as(strategy, seed) not in self.runs.ours:
                    self._keep(self.runs.ours, trained_as(strategy, seed), self._ours(strategy, seed))
            if trained_as(best.what, seed) not in self.runs.trainer:
                self._train(best, seed)
        self.kept.write(page(self.runs, best, seeds, strategies, self.settings.adaptation))

    def _best_recipe(self, seed: int) -> Recipe:
        recipes = candidates(self.settings.adaptation)
        for recipe in recipes:
            if recipe.what not in self.runs.recipes:
                self._keep(self.runs.recipes, recipe.what, self._train(recipe, seed))
        return max(recipes, key=lambda recipe: self.runs.recipes[recipe.what])

    def _train(self, recipe: Recipe, seed: int) -> float:
        """Trainer's side, kept. Returns: its accuracy on the validation rows, which may choose."""
        torch.use_deterministic_algorithms(False)  # ours needs it, Trainer does not ask for it
        _, right = trained_text(self.task, recipe, seed)
        self._keep(self.runs.trainer, trained_as(recipe.what, seed), float(right(self.task.test).mean()))
        return float(right(self.validation).mean())

    def _ours(self, strategy: str, seed: int) -> float:
        adaptation = {**self.tree["adaptation"], "strategy": strategy, "seed": seed, "threads": self.threads}
        # A registered model for each: none has a champion to beat.
        tree = {**self.tree, "adaptation": adaptation, "registry": {"model": f"reviews-{strategy}-{seed}"}}
        return float(adapt_in(self.root, tree).result["scores"]["accuracy"]["value"])

    def _keep(self, where: dict[str, float], name: str, accuracy: float) -> None:
        where[name] = accuracy
        self.kept.keep(self.runs, f"{name}: {accuracy:.4f}")


def candidates(settings: AdaptationSettings) -> list[Recipe]:
    """Trainer with our budget: its rate and a higher one, each under BERT's pooler and under the mean of the tokens."""
    same = Recipe(settings.epochs, "nothing", batch_size=settings.batch_size, bf16=settings.precision == "bfloat16")
    return [replace(same, learning_rate=rate, mean_pooled=mean) for rate in RATES for mean in (False, True)]


def trained_as(how: str, seed: int) -> str:
    """A name for a training."""
    return f"{how}; seed {seed}"


class Difference(NamedTuple):
    """Of means, with its interval."""

    mean: float
    low: float
    high: float


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The mean difference and its 95 % interval by Student's t, from two accuracies or more on each side."""
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    return Difference(float(np.mean(np.subtract(ours, theirs))), float(low), float(high))


def page(
    runs: Runs, best: Recipe, seeds: Sequence[int], strategies: Sequence[str], settings: AdaptationSettings
) -> str:
    """The page, of all runs of both sides."""
    sides = {strategy: [runs.ours[trained_as(strategy, seed)] for seed in seeds] for strategy in strategies}
    theirs = [runs.trainer[trained_as(best.what, seed)] for seed in seeds]
    lines = [(str(seed), *accuracies) for seed, *accuracies in zip(seeds, *sides.values(), theirs, strict=True)]
    lines.append(("**mean**", *map(statistics.mean, (*sides.values(), theirs))))
    text = HEAD_OF_PAGE.format(
        **settings.model_dump(),
        **{split: f"{count:,}" for split, count in runs.split_rows.items()},
        first=seeds[0],
        recipes="\n".join(
            f"| {f'**{what}**' if what == best.what else what} | {accuracy:.4f} |"
            for what, accuracy in runs.recipes.items()
        ),
        strategies=" | ".join(strategies),
        rule="| --- " * (len(strategies) + 2) + "|",
        seeds="\n".join(f"| {name} | {' | '.join(f'{value:.4f}' for value in values)} |" for name, *values in lines),
    )
    if len(seeds) < 2:
        return text
    return (
        text
        + PAIRED.format(count=len(seeds))
        + "".join(
            DIFFERENCE.format(strategy=strategy, **paired(ours, theirs)._asdict()) for strategy, ours in sides.items()
        )
    )


if __name__ == "__main__":
    sys.exit(main())
