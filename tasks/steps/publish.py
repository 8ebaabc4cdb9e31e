"""Step 7, publish: the report, the model card, the numbers for DVC, the pages of MLflow and Prefect."""

import csv
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from filelock import FileLock
from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.data.team_columns import fit_name
from graftline.digests import json_sha256
from graftline.evaluation.scoring import spelt
from graftline.files import json_file, write_atomically, write_json
from graftline.pages.report import RunReport, render_card, render_report
from graftline.pages.text import as_markdown
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.registry.binding import PAGES
from graftline.tasks.step import step
from graftline.tasks.steps.decide import Decision, Pages
from graftline.tasks.steps.evaluation import PREDICTIONS, Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.prefect_pages import show_in_prefect
from graftline.tasks.steps.run_report import VALIDATION, report_of
from graftline.tasks.steps.tracked_run import log_results
from graftline.tasks.tracking.pages import describe_model, describe_version, note_run, title_run
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy

TABLE, REPORT = PAGES
CARD, METRICS = "model_card.md", "metrics.json"
CURVES = TRAINING, RELIABILITY, CONFUSION = "training.csv", "reliability.csv", "confusion.csv"
# Beside them lie the pages of other commands, such as `graftline compare`.
WRITTEN = (*PAGES, CARD, VALIDATION, METRICS, *CURVES)

logger = logging.getLogger("graftline.publish")


def bound_pages(workspace: Workspace, outcome: Callable[[Decision], RunOutcome]) -> Pages:
    """Draws the pages that say a verdict before it is recorded, so that the record can bind them."""

    def drawn(decision: Decision) -> dict[str, bytes]:
        done = outcome(decision)
        table = json_file(_verdict_table(done.inputs.policy, decision))
        return {REPORT: render_report(report_of(workspace, done)).encode(), TABLE: table}

    return drawn


@step("7 publish")
def publish(workspace: Workspace, done: RunOutcome) -> Path:
    """Write the pages and numbers of a run into `reports/`, MLflow and Prefect. Returns: the report's path."""
    folder, evaluation, report = workspace.reports, done.evaluation, report_of(workspace, done)
    with alone_in_reports(workspace):
        write_atomically(_whose(workspace), pages_of(done))
        write_atomically(folder / REPORT, render_report(report))
        write_atomically(folder / CARD, render_card(report))
        write_atomically(folder / VALIDATION, done.inputs.data.page.read_bytes())
        write_json(folder / TABLE, _verdict_table(done.inputs.policy, done.decision))
        _write_for_dvc(folder, report, done.checkpoint, evaluation)
    files = [evaluation.folder.path / name for name in (*evaluation.held_out.pictures.values(), PREDICTIONS)]
    scores = {
        f"test/{f'{fit_name(target)}/' if target else ''}{name}": score["value"]
        for target, one in evaluation.each.items()
        for name, score in one.scores.items()
    }
    if evaluation.target:
        scores |= {f"target_domain/{name}": score["value"] for name, score in evaluation.target.scores.items()}
    log_results(done.run, scores, [*_pages_to_log(done, folder), folder / CARD, *files])
    _describe(done, report)
    show_in_prefect(workspace, report, done.inputs.data, folder / REPORT)
    return folder / REPORT


def _pages_to_log(done: RunOutcome, folder: Path) -> list[Path]:
    """Without those that the verdict's record binds: they lie there, and another release may draw them otherwise."""
    bound = done.decision.kept if done.run.run_id == done.candidate.run_id else ()
    return [folder / name for name in PAGES if name not in bound]


def alone_in_reports(workspace: Workspace) -> FileLock:
    """A lock under which the pages of one run are written: those of two would otherwise be mixed."""
    folder = _whose(workspace).parent
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".reports.lock")


def pages_of(done: RunOutcome) -> str:
    """The name of the pages of this run: equal versions of two runs have pages of their own."""
    values = done.inputs.settings.model_dump(mode="json")
    return json_sha256([values, done.run.run_id, done.candidate.version, done.decision.verdict])


def whose_pages(workspace: Workspace) -> str | None:
    """The name of the pages that lie in `reports/`, or did before someone else changed them."""
    path = _whose(workspace)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _whose(workspace: Workspace) -> Path:
    return workspace.artifacts / "runs" / ".reports"


def _verdict_table(policy: Policy, decision: Decision) -> JsonValue:
    """The verdict with every axis and its numbers, for a reader that is a program."""
    axes: list[JsonValue] = [cast("JsonValue", asdict(axis)) for axis in decision.axes]
    return {
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "axes": axes,
        "rows_enough": decision.rows_enough,
        "policy": policy.model_dump(mode="json"),
        "policy_sha256": policy.sha256,
    }


def _write_for_dvc(folder: Path, report: RunReport, checkpoint: Checkpoint, evaluation: Evaluation) -> None:
    held_out = evaluation.held_out
    metrics = {name: dict(score) for name, score in report.scores.items()}
    further = {"targets": {name: one.scores for name, one in evaluation.further.items()}} if evaluation.further else {}
    write_json(folder / METRICS, cast("JsonValue", {**metrics, **further, "verdict": report.verdict}))
    _write_csv(folder / TRAINING, [dict(epoch) for epoch in checkpoint.epochs])
    _write_csv(folder / RELIABILITY, held_out.reliability)
    names = held_out.confusion_names
    cells = [
        {"actual": actual, "predicted": predicted}
        for actual, counts in zip(names, held_out.confusion, strict=True)
        for predicted, count in zip(names, counts, strict=True)
        for _ in range(count)
    ]
    _write_csv(folder / CONFUSION, cells)


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())


def _describe(done: RunOutcome, report: RunReport) -> None:
    """Say in MLflow's lists what came out, and put the model card where a reader of the registry looks for it."""
    run, model, version = done.run, report.model, report.version
    if run.finished:
        return
    primary = report.scores[report.scoring.primary]
    title_run(run.run_id, version=version, verdict=report.verdict, score=primary["value"])
    files = {"Report": REPORT, "validation page": done.inputs.data.page.name, "predictions": PREDICTIONS}
    note = done.inputs.note
    lines = [
        f"{spelt(report.scoring.primary)} {primary['value']:.3f} (95 % interval {primary['low']:.3f} to"
        f" {primary['high']:.3f}) on {report.data.split['test']:,} held-out rows.",
        f"{report.verdict}: {'; '.join(report.reasons)}.",
        *(f"{caution[0].upper()}{caution[1:]}." for caution in report.cautions),
        *([f"Started because: {note}"] if note else []),
    ]
    note_run(run.run_id, model=model, version=version, lines=lines, files=files)
    if run.run_id == report.run_id:  # not of an equal version that another run has made
        describe_version(model, version, render_card(report))
        describe_model(model, _what_it_is(done))


def _what_it_is(done: RunOutcome) -> str:
    """A registered model in a sentence: input, answer, origin."""
    settings, data = done.inputs.settings, done.inputs.data
    takes = {"text": "a text", "image": "an image", "audio": "a sound"}[data.kind]
    answers = [_answer(data), *(f"{_answer(own)} ({name})" for name, own in data.targets.items())]
    return as_markdown(
        f"Takes {takes} and answers with {' and '.join(answers)}; adapted from {done.inputs.base.uri} to"
        f" {settings.data.path}."
    )


def _answer(data: ValidatedData) -> str:
    labels = f" {', '.join(data.labels)}" if data.labels else ""
    return f"{TASKS[data.task].shown.answer}{labels}"
