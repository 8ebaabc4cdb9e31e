"""What the scores of `graftline rank` foretell in projects whose base models were fine-tuned: one table over seeds.

    python -m benchmarks.scores.ranking FOLDER...

Each folder is a project of the same base models, with a seed of its own, where `graftline rank --verify K` ran. Beside
the scores that `rank` has, they are asked the one that was left out: Fisher's discriminant with a shrunk covariance.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.scores.intervals import half_interval
from benchmarks.scores.projects import PARAMS, validated, working_in
from graftline.settings import read_settings
from graftline.tasks.ranking.features import SeenBase, see
from graftline.tasks.ranking.points import points_of
from graftline.tasks.ranking.scores import SCORES, score_base
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import agreement

if TYPE_CHECKING:
    from torch import Tensor

FISHER, HEAD = "shrunk Fisher", "head"


@dataclass(frozen=True)
class Ranked:
    """One base model in one project."""

    uri: str
    millions: float
    """Parameters."""
    rows_per_second: float
    scores: Mapping[str, float]
    tuned: float | None
    """What its best fine-tuning of all blocks came to on the validation rows; None: there is none."""


@dataclass(frozen=True)
class Over:
    """A mean over seeds, and half of its 95 % interval by Student's t; of one seed there is none."""

    mean: float
    half: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.half is None else f"{self.mean:.3f} ± {self.half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    projects = [ranked_in(folder.resolve()) for folder in parser.parse_args().folders]
    print("\n".join([*table(projects), "", *taus(projects)]))


def ranked_in(root: Path) -> list[Ranked]:
    """The base models that the project's settings name, that of the settings first."""
    with working_in(root):
        settings, workspace = read_settings(root / PARAMS, []), Workspace(root)
        data = validated(root, settings)
        uris = [settings.base_model.uri, *settings.base_models]
        seen = [see(workspace, settings, data, fetch_model.fn(workspace, uri)) for uri in uris]
        scored = [score_base(settings, data, one) for one in seen]
        whole = [one for one in points_of(workspace, settings, data, scored) if one.freeze_until is None]
    print(f"{root.name}: {data.split_rows}, data {data.data.version}")
    return [
        Ranked(
            one.uri,
            one.seen.parameters / 1e6,
            one.seen.rows_per_second,
            {str(name): one.last.of(name) or 0.0 for name in SCORES} | {FISHER: _fisher_of(one.seen)},
            max((point.value for point in whole if point.uri == one.uri), default=None),
        )
        for one in scored
    ]


def shrunk_fisher(features: "Tensor", classes: "Tensor") -> float:
    """The mean log posterior of the training rows' classes under Fisher's discriminant, its covariance shrunk as
    Ledoit and Wolf do: the first stage of SFDA (Shao et al. 2022, arXiv 2207.03036)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features.numpy(), classes.numpy())
    posterior = model.predict_log_proba(features.numpy())
    return float(posterior[np.arange(len(classes)), classes.numpy()].mean())


def _fisher_of(one: SeenBase) -> float:
    return shrunk_fisher(one.depths[-1].vectors["train"], one.learned["train"])


def table(projects: Sequence[Sequence[Ranked]]) -> list[str]:
    """Each base model's means over the projects, the best solved head first."""
    names = list(projects[0][0].scores)
    lines = [f"| base model | M | rows/s | {' | '.join(names)} | fine-tuned |", "|---" * (len(names) + 4) + "|"]
    models = list(zip(*projects, strict=True))
    for seeds in sorted(models, key=lambda seeds: -_mean([one.scores[HEAD] for one in seeds])):
        (uri,) = {one.uri for one in seeds}
        scores = [str(over([one.scores[name] for one in seeds])) for name in names]
        tuned = [one.tuned for one in seeds if one.tuned is not None]
        last = str(over(tuned)) if len(tuned) == len(seeds) else "-"
        rate = _mean([one.rows_per_second for one in seeds])
        lines.append(f"| {uri} | {seeds[0].millions:.1f} | {rate:.0f} | {' | '.join([*scores, last])} |")
    return lines


def taus(projects: Sequence[Sequence[Ranked]]) -> list[str]:
    """How each score orders what the fine-tunings came to, by project and over them."""
    heads = [f"seed {number}" for number in range(len(projects))]
    lines = [f"| score | {' | '.join(heads)} | tau over seeds |", "|---" * (len(heads) + 2) + "|"]
    for name in projects[0][0].scores:
        found = [_tau(project, name) for project in projects]
        known = [tau for tau in found if tau is not None]
        each = " | ".join("-" if tau is None else f"{tau:.2f}" for tau in found)
        lines.append(f"| {name} | {each} | {over(known) if len(known) == len(found) else '-'} |")
    return lines


def over(values: Sequence[float]) -> Over:
    """One value per seed."""
    if len(values) < 2:
        return Over(_mean(values), None)
    return Over(_mean(values), half_interval(values))


def _tau(project: Sequence[Ranked], name: str) -> float | None:
    """Weighted Kendall tau over the base models of a project that were fine-tuned."""
    some = [(one.scores[name], one.tuned, one.uri) for one in project if one.tuned is not None]
    return agreement(*map(list, zip(*some, strict=True))).tau if some else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


if __name__ == "__main__":
    main()
