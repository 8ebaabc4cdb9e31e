"""How many planted errors `graftline labels` finds, and how much of what it lists is one, in projects with real rows.

    python -m benchmarks.scores.labels reviews=FOLDER fashion=FOLDER

Each folder is a project with params.yaml, versioned data and a locked base model. Writes docs/measurements/labels.md
between its two marks; all else on that page was written by hand.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.scores.intervals import half_interval
from benchmarks.scores.kept_page import write_between
from graftline.answers.tasks import TASKS
from graftline.evaluation.metrics import Integers
from graftline.files import write_json
from graftline.settings import read_settings
from graftline.tasks.data.accepted_rows import split_targets
from graftline.tasks.rows.doubted_labels import labelled_rows
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.untouched_base import head_features
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.transfer.wrong_labels import doubts_of, folds_of, out_of_fold, planted

PAGE = Path("docs/measurements/labels.md")
RATES = (0.0, 0.05, 0.1, 0.2)
FIRST = 100
HEADER = (
    "| rows | planted | accuracy of the heads | doubted | recall | precision | of the first 100 | without any planted |"
)


@dataclass(frozen=True)
class Outcome:
    """One set of planted errors."""

    rows: str
    count: int
    rate: float
    accuracy: float
    """Of the heads, by the labels with the errors in them."""
    doubted: float
    """As a share of the rows, as the next three are of what they are named after."""
    recall: float
    precision: float
    of_first: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a project as features."""

    name: str
    features: torch.Tensor
    targets: torch.Tensor
    clusters: Integers
    labels: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", help="only rows of these sides of the split")
    parser.add_argument("--rows", type=int, help="at most so many, drawn at random")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = PAGE.with_suffix(".json")
    outcomes = [Outcome(**one) for one in json.loads(kept.read_text())] if kept.exists() else []
    for name, _, folder in (project.partition("=") for project in options.projects):
        rows = read_rows(name, Path(folder).resolve(), options.sides, options.rows)
        outcomes = [one for one in outcomes if one.rows != name]
        penalty = None
        for rate in RATES:
            for seed in range(options.seeds if rate else 1):
                outcome, penalty = measured(rows, rate, seed, penalty)
                outcomes.append(outcome)
                print(outcome, file=sys.stderr, flush=True)
                write_json(kept, [asdict(one) for one in outcomes])
    write_page(outcomes)


def read_rows(name: str, root: Path, wanted: Sequence[str] | None, most: int | None) -> Rows:
    """The accepted rows of the project, or so many of them, on all sides or those that are wanted."""
    workspace, settings = Workspace(root), read_settings(root / "params.yaml")
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    rows = [row for row in labelled_rows(data) if wanted is None or row.side in wanted]
    sides = list(dict.fromkeys(row.side for row in rows))
    features = head_features(workspace, frozen_head_settings(settings), data, base, sides)
    targets = torch.cat([split_targets(data, side) for side in sides])
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    clusters = np.array([row.cluster for row in rows])[chosen]
    vectors = torch.cat([features[side] for side in sides])[chosen]
    return Rows(name, vectors, targets[chosen], clusters, data.labels)


def measured(rows: Rows, rate: float, seed: int, penalty: float | None) -> tuple[Outcome, float]:
    """What is doubted with so many errors in place; the penalty is chosen once, which costs most."""
    task, right = TASKS["single_label"], rows.targets.numpy()
    chosen = np.random.default_rng(seed).permutation(len(right))[: round(rate * len(right))]
    targets = planted("single_label", right, chosen, seed) if rate else right
    folds = folds_of(rows.clusters, [str(one) for one in targets], seed)
    said = out_of_fold(
        rows.features,
        torch.from_numpy(targets),
        folds,
        outputs=task.outputs.outputs_for(rows.labels, torch.from_numpy(targets)),
        kind=task.outputs,
        objective_for=task.objective_for,
        penalty=penalty,
    )
    doubts, is_wrong = doubts_of("single_label", targets, said), targets != right
    found = int((doubts.doubted & is_wrong).sum())
    first = doubts.order[:FIRST]
    return Outcome(
        rows.name,
        len(right),
        rate,
        float((said.probabilities.argmax(1) == targets).mean()),
        float(doubts.doubted.mean()),
        found / max(1, int(is_wrong.sum())),
        found / max(1, int(doubts.doubted.sum())),
        float(is_wrong[first].mean()) if len(first) else 0.0,
    ), said.penalty


def write_page(outcomes: Sequence[Outcome]) -> None:
    """The table into the page, between its marks."""
    write_between(PAGE, "benchmarks.scores.labels", table(outcomes))


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each set of rows and rate."""
    lines = [HEADER, "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, rate in dict.fromkeys((one.rows, one.rate) for one in outcomes):
        some = [one for one in outcomes if (one.rows, one.rate) == (name, rate)]
        nothing = next(one for one in outcomes if (one.rows, one.rate) == (name, 0.0))
        head = f"| {name}, {some[0].count:,} | {rate:.0%}, {len(some)} seeds"
        cells = [_over([one.accuracy for one in some]), _over([one.doubted for one in some])]
        if rate:
            cells += [_over([getattr(one, field) for one in some]) for field in ("recall", "precision", "of_first")]
        else:
            head, cells = f"| {name}, {some[0].count:,} | none", [*cells, "-", "-", "-"]
        lines.append(f"{head} | {' | '.join(cells)} | {nothing.doubted:.1%} |")
    return "\n".join(lines)


def _over(values: Sequence[float]) -> str:
    """The mean with its 95 % interval over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.1%}"
    half = half_interval(values)
    return f"{mean:.1%} ± {100 * half:.1f}"


if __name__ == "__main__":
    main()
