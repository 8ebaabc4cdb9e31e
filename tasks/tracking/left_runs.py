"""MLflow's runs that are still said to go on: whose they are, and the end of those whose process is gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from graftline.tasks.tracking.server import client

# The tag that names the run of the orchestrator that writes to an MLflow run.
ORCHESTRATED_BY = "graftline.prefect_run"
MOST_EXPERIMENTS = 1000


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that MLflow shows as going on."""

    run_id: str
    name: str
    orchestrated_by: str | None
    """The run of Prefect that began it; None if a command line without a server did, or an earlier release."""
    since: str
    """UTC, ISO 8601."""


def unfinished_runs(orchestrated_by: str | None = None) -> list[UnfinishedRun]:
    """All of them, or those of one run of Prefect, where `connect` has found MLflow."""
    server = client()
    experiments = [one.experiment_id for one in server.search_experiments(max_results=MOST_EXPERIMENTS)]
    wanted = "attributes.status = 'RUNNING'"
    if orchestrated_by is not None:
        wanted += f" and tags.`{ORCHESTRATED_BY}` = '{orchestrated_by}'"
    found = server.search_runs(experiments, wanted) if experiments else []
    return [
        UnfinishedRun(
            run.info.run_id,
            run.info.run_name or run.info.run_id,
            run.data.tags.get(ORCHESTRATED_BY),
            datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        )
        for run in found
    ]


def end_left(runs: Sequence[UnfinishedRun]) -> None:
    """Tell MLflow that nobody writes to these any more; the next start of the same inputs takes them up again."""
    server = client()
    for run in runs:
        server.set_terminated(run.run_id, "KILLED")
