"""The page about a champion's looks, and its numbers in MLflow."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from graftline.files import write_atomically
from graftline.pages.watching_page import MeanShown, SignalShown, WatchPage, render
from graftline.tasks.tracking.server import client, experiment_of
from graftline.tasks.watching.kept_looks import Look
from graftline.tasks.watching.looking import WEIGHTS
from graftline.tasks.watching.reference import About
from graftline.tasks.workspace import Workspace
from graftline.watching.evidence import LOOKS_A_YEAR, YEARLY_CHANCE, budget_share, needed
from graftline.watching.looks import SIGNALS, Signal
from graftline.watching.pictures import evidence_picture, score_picture

MEANINGS: Mapping[Signal, str] = {
    "features_distance": "what the model's head reads, by the kernel's distance",
    "features_classifier": "what the model's head reads, by a classifier that tells days from held-out rows",
    "facts": "lengths and other cheap facts of the inputs",
    "answers": "how often each label is answered",
    "confidence": "how sure the answers are, or the numbers that are answered",
    "score": "true scores, below what the held-out rows promised",
}
WATCH_RUN, WATCHED = "graftline.watch", "graftline.watched_looks"


def this_year(looks: Sequence[Look]) -> Sequence[Look]:
    """The looks that share an error budget with the newest one."""
    return looks[(len(looks) - 1) // LOOKS_A_YEAR * LOOKS_A_YEAR :] if looks else looks


def page_file(workspace: Workspace, model: str) -> Path:
    return workspace.reports / f"watch-{model}.html"


def write_page(workspace: Workspace, about: About, looks: Sequence[Look]) -> Path:
    """The page about the newest look and the year that it belongs to."""
    file = page_file(workspace, about.model)
    write_atomically(file, render(_page(about, looks)))
    return file


def log_looks(workspace: Workspace, about: About, looks: Sequence[Look], page: Path) -> str:
    """Log the numbers of each look that MLflow does not have yet, in one run per champion. Returns: its id."""
    from mlflow.entities import Metric

    server, experiment = client(), experiment_of(workspace, about.model)
    found = server.search_runs([experiment], f"tags.`{WATCH_RUN}` = '{about.run_id}'")
    run = found[0] if found else server.create_run(
        experiment, tags={WATCH_RUN: about.run_id, WATCHED: "0"}, run_name=f"watch v{about.version}"
    )  # fmt: skip
    logged = int(run.data.tags.get(WATCHED, "0"))
    now = int(time.time() * 1000)
    for look in looks[logged:]:
        numbers = [Metric(name, value, now, look.number) for name, value in _numbers(look).items()]
        server.log_batch(run.info.run_id, metrics=numbers)
        server.set_tag(run.info.run_id, WATCHED, str(look.number))
    server.log_artifact(run.info.run_id, str(page))
    # Nothing computes between two watches.
    server.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


def _numbers(look: Look) -> dict[str, float]:
    score = look.score
    known = {
        **({} if score is None else {"watch/score": score.value, "watch/low": score.low, "watch/high": score.high}),
        "watch/rows": look.rows,
        "watch/labelled": look.labelled,
        "watch/estimated": look.estimated,
        "watch/alarms": len(look.alarms),
        **{f"evidence/{name}": one.evidence.capital for name, one in look.signals.items()},
        **{f"p/{name}": one.p for name, one in look.tested.items()},
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def _page(about: About, looks: Sequence[Look]) -> WatchPage:
    year, newest = this_year(looks), looks[-1]
    last_of = {look.number: look.last for look in looks}
    days = [look.last for look in year]
    capitals: dict[str, list[float]] = {
        name: [look.signals[name].evidence.capital for look in year] for name in SIGNALS
    }
    scores = [(one.value, one.low, one.high) if (one := look.score) else None for look in year]
    estimates = [None if look.estimated is None else (look.estimated, look.estimated_error or 0.0) for look in year]
    return WatchPage(
        model=about.model,
        version=about.version,
        until=newest.last,
        looks=len(looks),
        rows=sum(look.rows for look in looks),
        labelled=sum(look.labelled for look in looks),
        signals=[
            SignalShown(
                name.replace("_", " "),
                MEANINGS[name],
                newest.tested[name].p if name in newest.tested else None,
                newest.signals[name].evidence.capital,
                needed(WEIGHTS[name]),
                last_of[alarm] if (alarm := newest.signals[name].alarm) else None,
            )
            for name in SIGNALS
        ],
        means=[MeanShown(name, then, now) for name, (then, now) in newest.means.items()],
        promised=newest.promised,
        score=score_in_words(newest),
        estimated=estimate_in_words(newest),
        pictures=[
            ("Evidence of each signal", evidence_picture(days, capitals, needed(budget_share(SIGNALS)))),
            ("True and estimated score", score_picture(days, scores, estimates, newest.promised)),
        ],
        alarm_chance=YEARLY_CHANCE,
        note=about.note,
    )


def score_in_words(look: Look) -> str | None:
    """The true score of all labelled rows so far."""
    one = look.score
    return None if one is None else f"{one.value:.4f} (between {one.low:.4f} and {one.high:.4f} at all times together)"


def estimate_in_words(look: Look) -> str | None:
    """The score that the newest look's confidence tells."""
    if look.estimated is None:
        return None
    return f"{look.estimated:.4f}, with an error of {look.estimated_error or 0:.4f} where nothing drifted"
