"""Night after night a retraining on the reviews, judged on the same held-out rows: what is spent, and what follows.

Usage: python -m benchmarks.scores.season [--nights N] [--threads N]

Each is one `adapt` on the same data; only the seed differs, so none is truly better than the one before, until one
trains blocks, too. The folder has the project; the page is written anew after every night.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

from benchmarks.problems.long_reviews import REVIEWS
from benchmarks.scores.kept_page import KeptPage, page_options, prefect_server, use_threads, with_range
from benchmarks.scores.projects import adapt_in, kept_project, start_project
from benchmarks.scores.real_projects import review_settings

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "season.md"
FOLDER = Path("artifacts") / "season"
NIGHTS, AFTERWARDS = 12, 3
# A head that is trained and not solved: quickly, and never the same with another seed.
USUAL: Mapping[str, Any] = {"strategy": "feature_extraction", "head": "mlp", "epochs": 3}
BETTER: Mapping[str, Any] = {"strategy": "partial", "freeze_until": "3", "epochs": 1}
KINDS = {"usual": USUAL, "better": BETTER}
HEAD_OF_PAGE = """# A season of retrainings of the review model

{nights} nights, each one `adapt` on all of `data/reviews.csv` with the default policy, judged on the same {rows:,}
held-out rows. Usual nights train a head ({usual}), each with its own seed, so none is truly better than
another. Then one night trains half of the blocks, too ({better}). *Spent* is the share of the rows' evidence that the
nights before had spent, *p to reach* what was left for this one, two-sided; by itself each night would have had 0.05.
Made by `python -m benchmarks.scores.season`, with real weights and data.

| night | what | accuracy (95 % interval) | against the champion | p | p to reach | spent | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- |
{lines}

{told}
"""


@dataclass(frozen=True)
class Night:
    """One retraining, as `adapt --json` tells it."""

    what: str
    verdict: str
    accuracy: Mapping[str, float]
    evidence: Mapping[str, float | None] | None
    """Of the comparison with the champion; none of the first model."""
    rows_enough: int | None
    reasons: Sequence[str]
    rows: int


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--nights", type=int, default=NIGHTS, help="usual ones before the better one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the project lies, with its reports")
    chosen: argparse.Namespace = parser.parse_args(arguments)
    use_threads(chosen.threads)
    tree, root = review_settings(), chosen.folder.absolute()
    kept_project(root, lambda folder: _write_project(folder, tree))
    plan = [("usual", {**USUAL, "seed": night}) for night in range(chosen.nights)]
    plan += [("three blocks, too", {**BETTER, "seed": 0})]
    plan += [("usual", {**USUAL, "seed": chosen.nights + night}) for night in range(AFTERWARDS)]
    kept = KeptPage(chosen.output, list[Night])
    nights = kept.read([])
    with prefect_server():
        for what, adaptation in plan[len(nights) :]:
            own = {**tree["adaptation"], "average": "none", **adaptation, "threads": chosen.threads}
            nights.append(_night(root, {**tree, "adaptation": own}, what))
            kept.keep(nights, f"night {len(nights)}, {what}: {nights[-1].verdict}")
            kept.write(page(nights))
    return 0


def _write_project(root: Path, tree: Mapping[str, Any]) -> None:
    if not REVIEWS.exists():
        raise SystemExit(f"{REVIEWS} is not there; bring it with `dvc pull`, in the project folder")
    shutil.copytree(REVIEWS.parent, root / REVIEWS.parent)
    start_project(root, tree, tree["base_model"]["uri"])


def _night(root: Path, tree: Mapping[str, Any], what: str) -> Night:
    adapted = adapt_in(root, tree)
    seen = adapted.result
    return Night(
        what,
        seen["verdict"],
        seen["scores"]["accuracy"],
        seen["evidence"],
        seen["rows_enough"],
        seen["reasons"],
        adapted.data.split_rows["test"],
    )


def page(nights: Sequence[Night]) -> str:
    """The page, of the nights that are over."""
    return HEAD_OF_PAGE.format(
        nights=len(nights),
        rows=nights[0].rows,
        lines="\n".join(_line(number, night) for number, night in enumerate(nights, start=1)),
        told="\n".join(f"- Night {number}: {_told(night)}" for number, night in _turning_points(nights)),
        **{name: ", ".join(f"{key} {value}" for key, value in keys.items()) for name, keys in KINDS.items()},
    )


def _line(number: int, night: Night) -> str:
    seen = night.evidence
    if seen is None:
        cells = ["the first model", "", "", ""]
    else:
        cells = [
            f"{seen['difference']:+.4f}",
            f"{seen['p']:.2g}",
            f"{seen['level']:.2g}",
            f"{100 * (seen['spent'] or 0):.0f} %",
        ]
    return f"| {number} | {night.what} | {with_range(**night.accuracy)} | {' | '.join(cells)} | **{night.verdict}** |"


def _turning_points(nights: Sequence[Night]) -> list[tuple[int, Night]]:
    """The second night, each that promoted, and the last: what the verdict said."""
    numbers = {2, len(nights), *(number for number, night in enumerate(nights, 1) if night.verdict == "PROMOTE")}
    return [(number, nights[number - 1]) for number in sorted(numbers) if number <= len(nights)]


def _told(night: Night) -> str:
    return f"**{night.verdict}**: {'; '.join(night.reasons)}"


if __name__ == "__main__":
    sys.exit(main())
