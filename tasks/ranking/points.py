"""What finished fine-tunings on the same rows came to: the points that show whether a score foretells anything."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftline.answers.tasks import TASKS
from graftline.errors import SettingsError
from graftline.settings import AdaptationSettings, Settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.scores import SCORES, ScoredBase, ScoreName
from graftline.tasks.step_folders import MANIFEST
from graftline.tasks.steps.choose_runtime import chosen_runtime
from graftline.tasks.steps.fine_tune import STEP, SUMMARY, fine_tune
from graftline.tasks.steps.mended_rows import Mending, mending_of
from graftline.tasks.steps.untouched_base import FASTEST
from graftline.tasks.tracking.server import client, connect, experiments_with_runs_of, has_registry
from graftline.tasks.workers.fanout import Needs, settled, workers
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import Agreement, agreement

# As tracked_run.py writes them.
BASE_TAG, DATA_TAG = "graftline.base_model_sha256", "graftline.data_version"
SECTION, PRETRAINING = "adaptation.", "pretraining_epochs"
PAGE_RUNS = 1_000
# Settings that decide nothing, as the key of a step leaves them out.
IDLE = ("threads", "feature_gigabytes")
NO_SETTING = str(None)
# Two values of one run, from its folder and from MLflow, differ by no more.
DIGITS = 6

logger = logging.getLogger("graftline.rank")


@dataclass(frozen=True)
class Point:
    """A finished fine-tuning."""

    uri: str
    base_digest: str
    strategy: str
    value: float
    """The primary score on the validation rows, of its best epoch."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Those of its adaptation that decide something, as texts."""

    @property
    def freeze_until(self) -> str | None:
        named = self.settings.get("freeze_until", NO_SETTING)
        return None if named == NO_SETTING else named

    @property
    def name(self) -> str:
        """For a reader."""
        return self.strategy if self.freeze_until is None else f"{self.strategy} with freeze_until {self.freeze_until}"

    @property
    def series(self) -> tuple[str, ...]:
        """Equal for two that differ in nothing but how many blocks they tuned."""
        way = "partial" if self.strategy == "fine_tuning" else self.strategy
        rest = {name: value for name, value in self.settings.items() if name not in ("strategy", "freeze_until")}
        return (self.base_digest, way, *(f"{name}={value}" for name, value in sorted(rest.items())))


def points_of(
    workspace: Workspace, settings: Settings, data: ValidatedData, scored: Sequence[ScoredBase]
) -> list[Point]:
    """Every finished fine-tuning of these base models on these rows, from step folders and from MLflow, each once.

    Not those of `feature_extraction`, whose score on the validation rows is that of the solved head by itself.
    """
    uris = {one.seen.base.digest: one.uri for one in scored}
    found = [*_in_folders(workspace, data, uris), *_in_mlflow(workspace, settings, data, uris)]
    known = {
        (one.base_digest, one.strategy, one.freeze_until, round(one.value, DIGITS)): one for one in reversed(found)
    }
    return sorted(known.values(), key=lambda one: (one.uri, one.strategy, one.freeze_until or "", -one.value))


def verify(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    scored: Sequence[ScoredBase],
    count: int,
    *,
    say: Callable[[str], None],
) -> None:
    """Fine-tune so many of the base models as the settings say, best and worst and those between at equal distances.

    Each with the same epochs, rates and rows. Nothing is registered; `adapt` with that base model finds its training
    done. Raises: SettingsError if the settings train nothing but a head.
    """
    if settings.adaptation.strategy == FASTEST:
        raise SettingsError(
            f"--verify {count}: adaptation.strategy is {FASTEST}, whose score is that of the solved head by itself, so"
            " there is nothing to verify; --set adaptation.strategy=probe_then_fine_tune trains more than a head"
        )
    order = sorted(scored, key=lambda one: -one.last.head.value)
    many = min(max(count, 2), len(order))
    # The scores are about base models as they are locked.
    chosen = settings.adaptation.model_copy(update={PRETRAINING: 0, "answers": "likeliest"})

    def begun() -> Iterator[Tuned]:
        for place in sorted({round(step * (len(order) - 1) / (many - 1)) for step in range(many)}):
            say(f"verifying {order[place].uri}: {chosen.strategy}, {chosen.epochs} epochs")
            base = order[place].seen.base
            yield Tuned(base, settled(chosen_runtime(workspace, chosen, data, base)))

    fine_tune_each(workspace, settings, data, begun())


@dataclass(frozen=True)
class TunedOn:
    """What all fine-tunings for a ranking share."""

    workspace: Workspace
    data: ValidatedData
    mending: Mending | None


@dataclass(frozen=True)
class Tuned:
    """One of them."""

    base: BaseModel
    settings: AdaptationSettings


def fine_tune_each(workspace: Workspace, settings: Settings, data: ValidatedData, all_tuned: Iterable[Tuned]) -> None:
    """Fine-tune each by itself, so at once where there are workers for it. Nothing is registered."""
    on = TunedOn(workspace, data, mending_of(settings))
    for _ in workers().map(_fine_tune, on, all_tuned, Needs.of(settings.adaptation, workspace)):
        pass


def _fine_tune(on: TunedOn, tuned: Tuned) -> None:
    fine_tune.fn(on.workspace, tuned.settings, on.data, tuned.base, mending=on.mending)


def agreements(scored: Sequence[ScoredBase], points: Sequence[Point]) -> dict[ScoreName, Agreement]:
    """How well each score orders what the points came to, by what it says of the vectors that a head reads.

    A fine-tuning behind a freeze point is left out where one that differs in nothing else tuned everything: how deep
    one base model is tuned says nothing about the order of several.
    """
    whole = {one.series for one in points if one.freeze_until is None}
    points = [one for one in points if one.freeze_until is None or one.series not in whole]
    of_uri = {one.uri: one.last for one in scored}
    bases = [one.base_digest for one in points]
    came = [one.value for one in points]
    found: dict[ScoreName, Agreement] = {}
    for name in SCORES:
        foretold = [of_uri[one.uri].of(name) for one in points]
        known = [value for value in foretold if value is not None]
        if len(known) == len(points) and all(one.last.of(name) is not None for one in scored):
            found[name] = agreement(known, came, bases)
    return found


def are_the_head(scored: Sequence[ScoredBase], points: Sequence[Point]) -> int:
    """How many came to what the solved head alone does: no epoch improved on it, so it foretells itself there."""
    of_uri = {one.uri: one.last.head.value for one in scored}
    return sum(abs(one.value - of_uri[one.uri]) < 10**-DIGITS for one in points)


def _in_folders(workspace: Workspace, data: ValidatedData, uris: Mapping[str, str]) -> Iterator[Point]:
    primary = f"validation_{TASKS[data.task].scores.scoring.primary}"
    for manifest in sorted((workspace.artifacts / STEP).glob(f"[!.]*/{MANIFEST}")):
        try:
            inputs = _json(manifest)["inputs"]["depends_on"]
            epochs = _json(manifest.with_name(SUMMARY))["epochs"]
            digest, rows, chosen = inputs["base_model"], inputs["data"], _settings(inputs["settings"])
            value = max(float(epoch[primary]) for epoch in epochs)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, which the step itself mends, or of an earlier release
        if rows == data.sha256 and digest in uris and chosen["strategy"] != FASTEST:
            yield Point(uris[digest], digest, chosen["strategy"], value, chosen)


def _in_mlflow(
    workspace: Workspace, settings: Settings, data: ValidatedData, uris: Mapping[str, str]
) -> Iterator[Point]:
    """Those of a team's other machines, too; of runs whose data settings are these, so whose rows are."""
    if not has_registry(workspace):
        return
    connect(workspace)
    server, metric = client(), f"validation/{TASKS[data.task].scores.scoring.primary}"
    wanted = {f"data.{name}": str(value) for name, value in settings.data.model_dump(mode="json").items()}
    runs = server.search_runs(
        experiments_with_runs_of(workspace, settings.registry.model),
        f"tags.`{DATA_TAG}` = '{data.data.version}' and attributes.status = 'FINISHED'",
        max_results=PAGE_RUNS,
    )
    for run in runs:
        digest, given = run.data.tags.get(BASE_TAG, ""), run.data.params
        strategy = given.get(f"{SECTION}strategy", "")
        if digest not in uris or strategy in ("", FASTEST) or any(given.get(k) != v for k, v in wanted.items()):
            continue
        if given.get(f"{SECTION}{PRETRAINING}", "0") != "0":
            continue  # of another base model, made of this one
        if history := server.get_metric_history(run.info.run_id, metric):
            own = {name.removeprefix(SECTION): value for name, value in given.items() if name.startswith(SECTION)}
            yield Point(uris[digest], digest, strategy, max(one.value for one in history), _settings(own))


def _settings(given: Mapping[str, Any]) -> dict[str, str]:
    """With those that the key of a step does not name, where they are the first default."""
    from graftline.settings.by_value import FIRST_DEFAULTS

    every = {**FIRST_DEFAULTS["adaptation"], **given}
    return {name: str(value) for name, value in every.items() if name not in IDLE}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
