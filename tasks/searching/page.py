"""The page about a search, in `reports/`."""

from pathlib import Path

from graftline.evaluation.scoring import spelt
from graftline.files import write_atomically
from graftline.pages.search_page import SearchPage, TrialShown, render
from graftline.search.pictures import Mark, importances_picture, scores_picture
from graftline.search.trials import Trial
from graftline.tasks.searching.outcome import Search, tried
from graftline.tasks.workspace import Workspace

PAGE = "search.html"
SHOWN_TRIALS = 100


def write_page(workspace: Workspace, search: Search) -> Path:
    """Write it. Returns: where it lies."""
    places = sorted(range(len(search.trials)), key=lambda place: (place != search.best, *_order(search.trials[place])))
    marks = {
        place + 1: Mark(trial.best[0], went_through=trial.state == "finished")
        for place, trial in enumerate(search.trials)
        if trial.scores
    }
    page = SearchPage(
        data_version=search.data.data.version,
        rows=search.data.split_rows,
        score=spelt(search.score),
        found=search.sentence,
        caution=search.caution,
        lines=search.lines,
        trials=[_trial(search, place) for place in places[:SHOWN_TRIALS]],
        count=len(search.trials),
        importances=search.importances,
        scores_picture=scores_picture(marks, spelt(search.score)),
        importances_picture=importances_picture(search.importances) if search.importances else None,
    )
    path = workspace.reports / PAGE
    workspace.reports.mkdir(exist_ok=True)
    write_atomically(path, render(page))
    return path


def _order(trial: Trial) -> tuple[bool, float]:
    """Those that went through all epochs first, the better ones before the others."""
    return trial.state != "finished", -trial.best[0]


def _trial(search: Search, place: int) -> TrialShown:
    trial = search.trials[place]
    return TrialShown(
        number=place + 1,
        tried=tried(search, trial),
        state={"finished": "went through", "pruned": "given up", "failed": "failed"}[trial.state],
        score=trial.best[0] if trial.scores else None,
        epochs=len(trial.scores),
        seconds=trial.seconds,
        why=trial.why,
        best=place == search.best,
    )
