"""Five retrainings on the reviews, each with what Graftline decided and why: promoted, held, rejected.

Usage: python -m benchmarks.scores.retrainings [--rows N] [--threads N]

Each is one `adapt` with `params.yaml` and the policy of this project; the last one is compared with training from
scratch, too. What is known is kept in a JSON file beside the page: a killed run goes on where it stopped.
"""

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks.problems.long_reviews import REVIEWS
from benchmarks.scores.kept_page import KeptPage, page_options, prefect_server, use_threads, with_range
from benchmarks.scores.projects import adapt_in, git, kept_project, start_project, validated, write_data_pointer
from benchmarks.scores.real_projects import review_settings
from benchmarks.sides.from_scratch import WEIGHTS
from graftline.settings import parse_settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.data.accepted_rows import read_split
from graftline.tasks.steps.baselines import STEP, SUMMARY
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import BASELINES, POLICY

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "retrainings.md"
FOLDER = Path("artifacts") / "retrainings"
SEED = 0
# The first of the two versions of the data.
ROWS = 6341
FIRST_SHARE = 0.4
PERMUTED = "permuted"
OF_THIS_MACHINE = ("report", "summary")
ALL_ROWS = "all.csv"
HEAD_OF_PAGE = """# Retrainings of the review model, and what was decided
Each line is one `adapt` with the `params.yaml` and `mlflow/promotion.yaml` of its day (strategy {strategies}), on the
first {rows} rows of `data/reviews.csv`, of which {test} are held out in all lines, or on the whole file. The champion
of a line is what the lines above promoted; the last one has a registered model of its own, without a champion, and is
compared with training from scratch, too. Training and the rest are seconds of one machine, which had other work and let
runs wait for it; what was computed for a line above is reused. Made by `python -m benchmarks.scores.retrainings`.

| retraining | held-out accuracy (95 % interval) | verdict | seconds: training, baselines, all |
| --- | --- | --- | --- |
{lines}

## Why
{reasons}
"""


@dataclass(frozen=True)
class Case:
    """One retraining."""

    name: str
    what: str
    model: str = "reviews"
    share: float = 1.0
    """Of the rows that are not held out, from the file's beginning, which is a fair sample."""
    whole_file: bool = False
    """Whether it has the rows, too, that --rows leaves to it."""
    shuffled: bool = False
    """Whether the labels of all rows that are not held out change places."""
    base: str | None = None
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Keys that differ from the project's own."""


CASES = (
    Case("few rows", f"the first model, from {FIRST_SHARE:.0%} of the rows to learn from", share=FIRST_SHARE),
    Case("more rows", "all rows"),
    Case("another seed", "the same rows, seed 1", adaptation={"seed": 1}),
    Case("whole file", "all rows of the file", whole_file=True),
    Case("shuffled labels", "all rows; the labels of all that are not held out were shuffled", shuffled=True),
    Case("permuted weights", "all rows; the base model's weights were permuted within each tensor", "permuted",
         base=f"path:{PERMUTED}", policy={"baselines": list(BASELINES)}),
)  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """The outcome of a case; `asked` is all that it depends on."""

    asked: Mapping[str, Any]
    result: Mapping[str, Any]
    """As `adapt --json` prints it, without the paths of this machine."""
    training_seconds: float
    baseline_seconds: float
    """Of those that were computed for it."""
    held_out: int
    """Rows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(chosen.threads)
    tree = review_settings()
    tree["adaptation"]["threads"] = chosen.threads
    policy = yaml.safe_load(Path(POLICY).read_text(encoding="utf-8"))
    root = (chosen.folder / f"reviews-{chosen.rows}").absolute()
    kept_project(root, lambda folder: _write_project(folder, tree))
    kept = KeptPage(chosen.output, dict[str, Decided])
    known = kept.read({})
    with prefect_server():
        for case in CASES:
            decided_by = {**policy, **case.policy}
            asked = {"rows": chosen.rows, "settings": _settings(tree, case), "policy": decided_by, "case": asdict(case)}
            if case.name in known and known[case.name].asked == asked:
                continue
            known[case.name] = decided = _decided(root, case, asked)
            kept.keep(known, f"{case.name}: {decided.result['verdict']}, {decided.result['seconds']} s")
            kept.write(page(known))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--rows", type=int, default=ROWS, help="of the file, in all lines but that of the whole file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the project lies, with its reports")
    return parser


def _write_project(root: Path, tree: Mapping[str, Any]) -> None:
    if not REVIEWS.exists():
        raise SystemExit(f"{REVIEWS} is not there; bring it with `dvc pull`, in the project folder")
    shutil.copytree(REVIEWS.parent, root / REVIEWS.parent)
    shutil.copyfile(REVIEWS, root / ALL_ROWS)
    uri = tree["base_model"]["uri"]
    workspace = Workspace(root)
    lock_model(workspace, uri)
    write_permuted(fetch_model.fn(workspace, uri).path, root / PERMUTED, seed=SEED)
    start_project(root, tree, uri, f"path:{PERMUTED}")


def write_permuted(base: Path, folder: Path, *, seed: int) -> Path:
    """The model in `base` with the numbers of each weight tensor in random order: what it learned is gone, their
    distribution is kept."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(*WEIGHTS))
    generator = torch.Generator().manual_seed(seed)
    for path in sorted(base.glob(WEIGHTS[0])):
        permuted = {
            name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
            for name, tensor in sorted(load_file(path).items())
        }
        save_file(permuted, folder / path.name, {"format": "pt"})
    return folder


def _settings(tree: Mapping[str, Any], case: Case) -> dict[str, Any]:
    return {
        **tree,
        "adaptation": {**tree["adaptation"], **case.adaptation},
        "base_model": {"uri": case.base or tree["base_model"]["uri"]},
        "registry": {"model": case.model},
    }


def _decided(root: Path, case: Case, asked: Mapping[str, Any]) -> Decided:
    rows = _read(root / ALL_ROWS)
    if not case.whole_file:
        rows = rows[: asked["rows"] + 1]
    _use(root, rows, "all rows")
    if case.shuffled or case.share < 1:
        data = validated(root, parse_settings(dict(asked["settings"]), source=root.name))
        held_out = set(read_split(data, "test", ["row_id"])["row_id"])
        if case.shuffled:
            _use(root, shuffled_labels(rows, held_out, seed=SEED), "a faulty export")
        else:
            _use(root, fewer_rows(rows, held_out, case.share), "the first rows")
    (root / POLICY).write_text(yaml.safe_dump(dict(asked["policy"]), sort_keys=False))
    before = _baseline_seconds(root)
    adapted = adapt_in(root, asked["settings"])
    computed = [seconds for key, seconds in _baseline_seconds(root).items() if key not in before]
    judged = adapted.data.split_rows["test"]
    result = {name: value for name, value in adapted.result.items() if name not in OF_THIS_MACHINE}
    return Decided(asked, result, adapted.checkpoint.seconds, sum(computed), judged)


def _baseline_seconds(root: Path) -> dict[str, float]:
    """The seconds of each baseline in the project, by its artifact key."""
    found = (root / "artifacts" / STEP).glob(f"*/{SUMMARY}")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in found}


def _use(root: Path, rows: Sequence[Sequence[str]], why: str) -> None:
    _write(root / REVIEWS, rows)
    write_data_pointer(root)
    git(root, "add", "data.dvc")
    git(root, "commit", "--quiet", "--allow-empty", "--message", why)


def fewer_rows(rows: Sequence[Sequence[str]], held_out: set[str], share: float) -> list[Sequence[str]]:
    """Rows under a line of names: those that are held out, and the first `share` of the others."""
    names, row_id = rows[0], rows[0].index("id")
    learned = [row for row in rows[1:] if row[row_id] not in held_out]
    left_out = {row[row_id] for row in learned[round(share * len(learned)) :]}
    return [names, *(row for row in rows[1:] if row[row_id] not in left_out)]


def shuffled_labels(rows: Sequence[Sequence[str]], held_out: set[str], *, seed: int) -> list[list[str]]:
    """Rows under a line of names, with the labels of all that are not held out among one another."""
    names, table = rows[0], [list(row) for row in rows[1:]]
    row_id, label = names.index("id"), names.index("label")
    learned = [row for row in table if row[row_id] not in held_out]
    labels = [row[label] for row in learned]
    for row, place in zip(learned, np.random.default_rng(seed).permutation(len(labels)), strict=True):
        row[label] = labels[place]
    return [list(names), *table]


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def page(known: Mapping[str, Decided]) -> str:
    """The page, of the cases that are known."""
    cases = [(case, known[case.name]) for case in CASES if case.name in known]
    return HEAD_OF_PAGE.format(
        strategies=", ".join(sorted({one.asked["settings"]["adaptation"]["strategy"] for _, one in cases})),
        rows=f"{cases[0][1].asked['rows']:,}",
        test=f"{cases[0][1].held_out:,}",
        lines="\n".join(_line(case, decided) for case, decided in cases),
        reasons="\n".join(_why(case, decided) for case, decided in cases),
    )


def _line(case: Case, decided: Decided) -> str:
    seen, accuracy = decided.result, with_range(**decided.result["scores"]["accuracy"])
    seconds = ", ".join(f"{one:.0f}" for one in (decided.training_seconds, decided.baseline_seconds, seen["seconds"]))
    return f"| **{case.name}**: {case.what} | {accuracy} | **{seen['verdict']}** | {seconds} |"


def _why(case: Case, decided: Decided) -> str:
    beside = "; ".join(f"{one['against']} {one['value']:.4f}" for one in decided.result["baselines"].values())
    reasons = "".join(f"\n  - {reason}" for reason in decided.result["reasons"])
    return f"- **{case.name}: {decided.result['verdict']}** (beside it: {beside}){reasons}"


if __name__ == "__main__":
    sys.exit(main())
