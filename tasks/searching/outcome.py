"""What came of a search: the settings to take, in words, and all of it in `reports/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import yaml
from pydantic import JsonValue

from graftline.errors import GraftlineError
from graftline.evaluation.scoring import spelt
from graftline.files import write_json
from graftline.search.space import Space, changed
from graftline.search.trials import Trial, best_trial, importances
from graftline.settings import AdaptationSettings, Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.learned_targets import score_of
from graftline.tasks.workspace import Workspace

RECORD = "search.json"
AS_THEY_ARE = "the settings as they are"


@dataclass(frozen=True)
class Search:
    """The trials of a search, and what follows from them."""

    settings: Settings
    data: ValidatedData
    space: Space
    trials: Sequence[Trial]

    @cached_property
    def best(self) -> int:
        """The place of the best trial. Raises: GraftlineError if all failed."""
        place = best_trial(self.trials)
        if place is None:
            raise GraftlineError(
                f"all {len(self.trials)} trials failed, expected one that went through its epochs; the first one:"
                f" {self.trials[0].why}"
            )
        return place

    @property
    def found(self) -> AdaptationSettings:
        """The settings of the best trial."""
        return self.trials[self.best].settings

    @property
    def changed(self) -> Mapping[str, JsonValue]:
        """What of the section `adaptation` differs in them."""
        return changed(self.settings.adaptation, self.found)

    @property
    def lines(self) -> str:
        """The same as it would stand in params.yaml."""
        return yaml.safe_dump({"adaptation": dict(self.changed)}, sort_keys=False) if self.changed else ""

    @property
    def score(self) -> str:
        """The name of the score that decides."""
        return score_of(self.data)

    @cached_property
    def importances(self) -> Mapping[str, float]:
        """The share of each drawn value in what told the best trials from the others; empty of too few trials."""
        return importances(self.space, self.trials)

    @property
    def sentence(self) -> str:
        """What came of it."""
        value = self.trials[self.best].best[0]
        if not self.changed:
            return f"no trial of {len(self.trials)} did better than {AS_THEY_ARE}: {spelt(self.score)} {value:.4f}"
        first = self.trials[0]
        before = f"{first.best[0]:.4f}" if first.scores else "no score, for they failed"
        return (
            f"best of {len(self.trials)} trials: {tried(self, self.trials[self.best])}; {spelt(self.score)} {value:.4f}"
            f" on the validation rows, {AS_THEY_ARE} {before}"
        )

    @property
    def caution(self) -> str:
        """How far to believe it."""
        return (
            f"The best of {len(self.trials)} trials on the same {self.data.split_rows['validation']:,} rows looks"
            " better than it is. The held-out rows, which no trial reads, judge it once: when the line is run with it."
        )


def tried(search: Search, trial: Trial) -> str:
    """What a trial changed, in words."""
    differs = changed(search.settings.adaptation, trial.settings)
    said = [f"{name} {'none' if value is None else value}" for name, value in differs.items()]
    return ", ".join(said) or AS_THEY_ARE


def as_json(search: Search) -> dict[str, JsonValue]:
    """All of it in plain values."""
    return {
        "model": search.settings.registry.model,
        "data_version": search.data.data.version,
        "rows": {split: search.data.split_rows[split] for split in ("train", "validation")},
        "score": search.score,
        "best": search.best + 1,
        "value": search.trials[search.best].best[0],
        "as_they_are": search.trials[0].best[0] if search.trials[0].scores else None,
        "changed": dict(search.changed),
        "importances": dict(search.importances),
        "trials": [_trial(search, trial) for trial in search.trials],
        "found": search.sentence,
    }


def keep_search(workspace: Workspace, search: Search) -> None:
    """Write it down."""
    workspace.reports.mkdir(exist_ok=True)
    write_json(workspace.reports / RECORD, as_json(search))


def _trial(search: Search, trial: Trial) -> JsonValue:
    return {
        "changed": changed(search.settings.adaptation, trial.settings),
        "state": trial.state,
        "scores": list(trial.scores.values()),
        "why": trial.why,
        "seconds": trial.seconds,
    }
