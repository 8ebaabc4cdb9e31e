"""What the scores of `graftline rank` foretell in a project whose base models were fine-tuned: one table.

Run it in a project where `graftline rank --verify K` ran: `python -m benchmarks.scores.ranking`. Beside the scores that
`rank` has, it asks the one that was left out: Fisher's discriminant with a shrunk covariance.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.scores.projects import PARAMS, validated
from graftline.settings import read_settings
from graftline.tasks.ranking.features import SeenBase, see
from graftline.tasks.ranking.points import Point, points_of
from graftline.tasks.ranking.scores import SCORES, ScoredBase, score_base
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import agreement

if TYPE_CHECKING:
    from torch import Tensor

FISHER = "shrunk Fisher"


def main(assignments: list[str]) -> None:
    root = Path.cwd()
    settings, workspace = read_settings(root / PARAMS, assignments), Workspace(root)
    data = validated(root, settings)
    uris = [settings.base_model.uri, *settings.base_models]
    seen = [see(workspace, settings, data, fetch_model.fn(workspace, uri)) for uri in uris]
    scored = [score_base(settings, data, one) for one in seen]
    columns = {str(name): [one.last.of(name) or 0.0 for one in scored] for name in SCORES}
    columns[FISHER] = [_fisher_of(one) for one in seen]
    points = points_of(workspace, settings, data, scored)
    print(f"{data.split_rows}, data {data.data.version}")
    print("\n".join(_table(scored, columns, points)))
    print("\n".join(_taus(scored, columns, points)))


def shrunk_fisher(features: "Tensor", classes: "Tensor") -> float:
    """The mean log posterior of the training rows' classes under Fisher's discriminant, its covariance shrunk as
    Ledoit and Wolf do: the first stage of SFDA (Shao et al. 2022, arXiv 2207.03036)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features.numpy(), classes.numpy())
    posterior = model.predict_log_proba(features.numpy())
    return float(posterior[np.arange(len(classes)), classes.numpy()].mean())


def _fisher_of(one: SeenBase) -> float:
    return shrunk_fisher(one.depths[-1].vectors["train"], one.learned["train"])


def _table(scored: Sequence[ScoredBase], columns: dict[str, list[float]], points: Sequence[Point]) -> list[str]:
    lines = [
        f"| base model | M parameters | rows/s | {' | '.join(columns)} | fine-tuned to |",
        "|---" * (len(columns) + 4) + "|",
    ]
    for place, one in enumerate(scored):
        values = " | ".join(f"{column[place]:.4f}" for column in columns.values())
        tuned = ", ".join(f"{point.value:.4f} ({point.strategy})" for point in points if point.uri == one.uri)
        seen = one.seen
        lines.append(f"| {one.uri} | {seen.parameters / 1e6:.1f} | {seen.rows_per_second:.0f} | {values} | {tuned} |")
    return lines


def _taus(scored: Sequence[ScoredBase], columns: dict[str, list[float]], points: Sequence[Point]) -> list[str]:
    places = {one.uri: place for place, one in enumerate(scored)}
    lines = ["| score | tau | low | high |", "|---|---|---|---|"]
    for name, column in columns.items():
        found = agreement(
            [column[places[one.uri]] for one in points], [one.value for one in points], [one.uri for one in points]
        )
        if found.tau is not None:
            lines.append(f"| {name} | {found.tau:.2f} | {found.low:.2f} | {found.high:.2f} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
