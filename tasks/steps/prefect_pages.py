"""The tables and pages that Prefect shows of a run."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from graftline.pages.report import RunReport, outcome_of
from graftline.pages.text import as_markdown
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.progress import in_prefect
from graftline.tasks.tracking.pages import FOR_TRAINING
from graftline.tasks.tracking.server import run_page
from graftline.tasks.workspace import Workspace


def show_in_prefect(workspace: Workspace, report: RunReport, data: ValidatedData, written: Path) -> None:
    """What was accepted, the scores and the verdict, where Prefect runs; the report is `written` to a file."""
    if not in_prefect():
        return
    page = run_page(workspace, report.run_id)
    files = f"MLflow run {report.run_id} · report: `{written}` · validation page: `{data.page}`"
    if page:
        pages = {
            "report": f"/artifacts/{written.name}",
            "validation page": f"/artifacts/{data.page.name}",
            "MLflow run": "",
        }
        files = " · ".join(f"[{title}]({page}{place}?{FOR_TRAINING})" for title, place in pages.items())
    rows = [{"rows": name, "count": count} for name, count in _counts(data).items()]
    create_table_artifact(key="validation", table=rows, description=f"What validate_data accepted. {files}")
    create_table_artifact(key="scores", table=_score_rows(report), description=f"Scores on the held-out rows. {files}")
    why = as_markdown(f"{report.verdict}: {report.reasons[0]}")
    create_markdown_artifact(key="verdict", markdown=_verdict_page(report, files), description=why)


def _verdict_page(report: RunReport, files: str) -> str:
    """Every reason and sentence whole, in lists: all tables of this page cut them at the width of the window."""
    not_asked = [axis.name for axis in report.axes if not axis.asked]
    return "\n".join(
        [
            f"## {report.model} version {report.version}: {report.verdict}",
            "",
            *(f"- {as_markdown(reason)}" for reason in (*report.reasons, *report.cautions)),
            "",
            files,
            "",
            "### Axis by axis",
            *(
                f"- **{axis.name}**{'' if axis.blocks else ' (advises)'}, {outcome_of(axis)}:"
                f" {as_markdown(axis.sentence)}"
                for axis in report.axes
                if axis.asked
            ),
            *([f"- Not asked for: {', '.join(not_asked)}"] if not_asked else []),
        ]
    )


def _counts(data: ValidatedData) -> dict[str, int]:
    return {
        "read": data.read,
        "accepted": data.accepted,
        "quarantined": data.quarantined,
        "twins, accepted and not scored": data.twins,
        **{f"{split} side": rows for split, rows in data.split_rows.items()},
    }


def _score_rows(report: RunReport) -> list[dict[str, str]]:
    rows = []
    for name, score in report.scores.items():
        row = {"score": name} | {part: f"{score[part]:.4f}" for part in ("value", "low", "high")}
        if report.champion and report.champion_scores:
            row[report.champion] = f"{report.champion_scores[name]['value']:.4f}"
        rows.append(row)
    return rows
