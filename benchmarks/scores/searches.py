"""What `graftline search` brings beside the settings as they are, on the same held-out rows: one line per seed.

Run it in a project: `python -m benchmarks.scores.searches --trials 12 --seeds 3`. What was killed goes on.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.scores.intervals import half_interval
from benchmarks.scores.projects import PARAMS, validated
from graftline.answers.predicting import predictor_of
from graftline.answers.tasks import TASKS
from graftline.search.space import space_of
from graftline.search.trials import Trial, proposed
from graftline.settings import AdaptationSettings, Settings, read_settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs, split_targets
from graftline.tasks.searching.outcome import Search, tried
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.run_trial import run_trial
from graftline.tasks.workspace import Workspace


@dataclass(frozen=True)
class Project:
    """A project whose settings are searched around."""

    workspace: Workspace
    settings: Settings
    data: ValidatedData
    base: BaseModel

    def searched(self, count: int) -> Search:
        """So many trials, as the verb makes them."""
        space, trials = space_of(self.settings.adaptation), list[Trial]()
        while len(trials) < count:
            proposal = proposed(space, trials, seed=self.settings.adaptation.seed)
            trials.append(run_trial.fn(self.workspace, self.data, self.base, space, proposal, trials))
        return Search(self.settings, self.data, space, trials)

    def judged(self, adaptation: AdaptationSettings) -> tuple[float, float]:
        """The main score on the held-out rows of a model adapted like this, and the seconds of its training."""
        made = fine_tune.fn(self.workspace, adaptation, self.data, self.base)
        scores, targets = TASKS[self.data.task].scores, split_targets(self.data, "test").numpy()
        predictions = predictor_of(made.model).predict(raw_inputs(self.workspace, self.data, "test"))
        found = scores.metrics(predictions, targets)[scores.scoring.primary](np.ones((1, len(targets))))
        return float(found[0]), made.seconds

    def seeded(self, seed: int) -> "Project":
        """The same with another seed of search and trainings."""
        adaptation = self.settings.adaptation.model_copy(update={"seed": seed})
        return replace(self, settings=self.settings.model_copy(update={"adaptation": adaptation}))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=12)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--set", dest="assignments", action="append", default=[])
    asked = options.parse_args()
    project = opened(Path.cwd(), asked.assignments)
    print(f"{project.data.split_rows}, data {project.data.data.version}")
    print("| seed | as they are | found | difference | trials whole / given up | of as many trainings' time | found |")
    print("|---|---|---|---|---|---|---|")
    gains = []
    for seed in range(asked.seeds):
        one = project.seeded(seed)
        search = one.searched(asked.trials)
        (before, seconds), (after, _) = one.judged(one.settings.adaptation), one.judged(search.found)
        gains.append(after - before)
        states = [trial.state for trial in search.trials]
        cost = sum(trial.seconds for trial in search.trials) / (len(states) * seconds)
        print(
            f"| {seed} | {before:.4f} | {after:.4f} | {after - before:+.4f} | {states.count('finished')} /"
            f" {states.count('pruned')} | {cost:.2f} | {tried(search, search.trials[search.best])} |",
            flush=True,
        )
    print(f"mean difference {in_words(gains)}, over seeds")


def opened(root: Path, assignments: list[str]) -> Project:
    """The project in a folder."""
    settings, workspace = read_settings(root / PARAMS, assignments), Workspace(root)
    return Project(workspace, settings, validated(root, settings), fetch_model.fn(workspace, settings.base_model.uri))


def in_words(differences: list[float]) -> str:
    """Their mean, and its 95 % interval by Student's t."""
    mean = float(np.mean(differences))
    if len(differences) < 2:
        return f"{mean:+.4f}"
    reach = half_interval(differences)
    return f"{mean:+.4f} ({mean - reach:+.4f} to {mean + reach:+.4f})"


if __name__ == "__main__":
    main()
