"""Step 7, publish: the report, the model card, the numbers for DVC, the pages of MLflow and Prefect."""

import csv
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast
from urllib.parse import quote

import yaml
from filelock import FileLock
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.data.team_columns import fit_name
from graftline.digests import json_sha256
from graftline.evaluation.bootstrap import Score
from graftline.evaluation.scoring import spelt
from graftline.files import json_file, write_atomically, write_json
from graftline.pages.alt_texts import alt_text, training_alt_text
from graftline.pages.headline import IN_PLAIN_WORDS, headline
from graftline.pages.report import BaselineRow, Link, Picture, RunReport, Table, outcome_of, render_card, render_report
from graftline.pages.text import as_markdown
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.progress import in_prefect
from graftline.tasks.registry.binding import PAGES
from graftline.tasks.step import step
from graftline.tasks.steps.adapting import score_of
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.steps.decide import Decision, Pages
from graftline.tasks.steps.evaluate_model import PREDICTIONS, Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.report_examples import example_rows
from graftline.tasks.steps.report_tables import choice_of, tables_of, tables_of_foresight, tables_of_training
from graftline.tasks.steps.target_tables import further_tables, targets_table
from graftline.tasks.steps.tracked_run import log_results
from graftline.tasks.tracking.pages import FOR_TRAINING, describe_model, describe_version, note_run, title_run
from graftline.tasks.tracking.provenance import NO_COMMIT
from graftline.tasks.tracking.server import run_page
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy

TABLE, REPORT = PAGES
CARD, METRICS = "model_card.md", "metrics.json"
VALIDATION = "validation.html"

logger = logging.getLogger("graftline.publish")


def bound_pages(workspace: Workspace, outcome: Callable[[Decision], RunOutcome]) -> Pages:
    """Draws the pages that say a verdict before it is recorded, so that the record can bind them."""

    def drawn(decision: Decision) -> dict[str, bytes]:
        done = outcome(decision)
        table = json_file(_verdict_table(done.inputs.policy, decision))
        return {REPORT: render_report(_report(workspace, done)).encode(), TABLE: table}

    return drawn


@step("7 publish")
def publish(workspace: Workspace, done: RunOutcome) -> Path:
    """Write the pages and numbers of a run into `reports/`, MLflow and Prefect. Returns: the report's path."""
    folder, evaluation, report = workspace.reports, done.evaluation, _report(workspace, done)
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
    _show_in_prefect(workspace, report, done.inputs.data, folder)
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


def _report(workspace: Workspace, done: RunOutcome) -> RunReport:
    settings, policy, data, base = done.inputs.settings, done.inputs.policy, done.inputs.data, done.inputs.base
    checkpoint, evaluation, candidate, decision = done.checkpoint, done.evaluation, done.candidate, done.decision
    held_out, task, domain = evaluation.held_out, TASKS[data.task], done.inputs.domain
    other = _other(evaluation, task.scores.scoring.primary)
    loss = "loss" if evaluation.further else task.scores.scoring.loss
    return RunReport(
        model=candidate.model,
        version=candidate.version,
        run_id=candidate.run_id,
        verdict=decision.verdict,
        sentence=headline(task.shown, data.kind, held_out.rows, evaluation.scores, other=other, axes=decision.axes),
        cautions=_cautions(data, done.run.unrepeatable),
        reasons=decision.reasons,
        axes=decision.axes,
        policy_sha256=policy.sha256,
        labels=data.labels,
        kind=data.kind,
        scoring=task.scores.scoring,
        shown=task.shown,
        max_tokens=settings.adaptation.max_tokens,
        max_seconds=settings.adaptation.max_seconds,
        base_model=base.uri,
        base_model_revision=base.revision,
        base_model_sha256=base.digest,
        base_model_licence=base.licence,
        data_path=settings.data.path,
        data_version=data.data.version,
        data_modified=data.data.modified,
        data_licence=settings.data.licence,
        rows_read=data.read,
        rows_accepted=data.accepted,
        rows_quarantined=data.quarantined,
        rows_twins=data.twins,
        target_domain=f"{settings.data.target_domain}: {domain.said}" if domain else None,
        split_rows=data.split_rows,
        groups=held_out.groups,
        strategy=settings.adaptation.strategy,
        domain=checkpoint.domain,
        frozen=checkpoint.frozen,
        frozen_sha256=checkpoint.frozen_sha256,
        weights_sha256=checkpoint.weights_sha256,
        kept_epochs=checkpoint.kept_epochs,
        between=checkpoint.between,
        pretraining=checkpoint.pretrained.in_words if checkpoint.pretrained else None,
        epochs=len(checkpoint.epochs),
        training_seconds=checkpoint.seconds,
        mended=checkpoint.mended,
        temperature=checkpoint.temperature,
        scores=evaluation.scores,
        uncalibrated_scores=held_out.calibration.scores_before,
        champion=f"champion version {evaluation.champion.version}" if evaluation.champion else None,
        champion_scores=_plain(evaluation.comparison.scores) if evaluation.comparison else None,
        difference=_plain(evaluation.comparison.differences) if evaluation.comparison else None,
        majority_label=str(held_out.majority.label),
        majority_scores=held_out.majority.scores,
        baselines=_baseline_rows(evaluation, task.scores.scoring.primary),
        classes=held_out.classes,
        slices=held_out.slices,
        targets=targets_table(evaluation),
        tables=[
            *choice_of(done.inputs),
            *tables_of_foresight(done.foreseen, evaluation),
            *tables_of(evaluation, candidate, decision.axes),
            *further_tables(evaluation),
            *tables_of_training(checkpoint, score_of(data), loss),
            *([Table("Wrong labels", done.inputs.labels.rstrip("."), (), ())] if done.inputs.labels else []),
        ],
        pictures=_drawn(evaluation, checkpoint, loss),
        other=other[0],
        examples=example_rows(workspace, data, held_out.examples, task.shown),
        links=_links(workspace, done),
        settings=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        unrepeatable=done.run.unrepeatable,
    )


def _other(evaluation: Evaluation, primary: str) -> tuple[str, dict[str, dict[str, float]]]:
    """The champion, or the best baseline where none could be scored: its name in plain words, and its scores."""
    if evaluation.comparison and evaluation.champion:
        return f"the old one (version {evaluation.champion.version})", _plain(evaluation.comparison.scores)
    best = max(evaluation.baselines, key=lambda name: evaluation.baselines[name].scores[primary].value)
    return IN_PLAIN_WORDS.get(best, best), _plain(evaluation.baselines[best].scores)


def _cautions(data: ValidatedData, unrepeatable: str | None) -> list[str]:
    cautions = []
    if data.data.modified:
        pointer = pointer_of(data.data.folder)
        cautions.append(f"the data are not the version that {pointer} names, so this model cannot be promoted")
    if unrepeatable not in (None, NO_COMMIT):  # a project without git was meant so
        cautions.append(f"this run cannot be reproduced: {unrepeatable}")
    return cautions


def _links(workspace: Workspace, done: RunOutcome) -> list[Link]:
    """Where to read on: pages of the MLflow server, or what there is without one."""
    candidate, data = done.candidate, done.inputs.data
    page = run_page(workspace, candidate.run_id)
    versions = f"{page.partition('#')[0]}#/models/{quote(candidate.model, safe='')}" if page else None
    return [
        Link("MLflow run", candidate.run_id, page),
        Link("data version", f"{data.data.version} of {done.inputs.settings.data.path}"),
        Link("validation page", "rows read and set aside", f"{page}/artifacts/{VALIDATION}" if page else VALIDATION),
        Link("versions", f"all versions of {candidate.model}", versions),
        Link("history", f"graftline history {candidate.model}"),
    ]


def _drawn(evaluation: Evaluation, checkpoint: Checkpoint, loss: str) -> list[Picture]:
    """The pictures of the held-out rows, and how the `loss` went."""
    from graftline.evaluation.pictures import training_picture

    train, validation = ([epoch[name] for epoch in checkpoint.epochs] for name in ("train_loss", "validation_loss"))
    further = [
        replace(picture, title=f"{name}: {picture.title}", seen=f"{name}: {picture.seen}")
        for name, one in evaluation.further.items()
        for picture in _of_held_out(one)
    ]
    return [
        *_of_held_out(evaluation),
        *further,
        Picture("Training", training_picture(train, validation, loss), training_alt_text(train, validation, loss)),
    ]


def _of_held_out(evaluation: Evaluation) -> list[Picture]:
    held_out = evaluation.held_out
    return [
        Picture(title, (evaluation.folder.path / name).read_bytes(), alt_text(title, held_out))
        for title, name in held_out.pictures.items()
    ]


def _baseline_rows(evaluation: Evaluation, primary: str) -> list[BaselineRow]:
    """The baselines with their main score, then those that were left out."""
    compared = [
        BaselineRow(rival.against, rival.scores[primary].as_json(), rival.differences[primary].as_json())
        for rival in evaluation.baselines.values()
    ]
    return compared + [BaselineRow(spelt(name), None, None, why) for name, why in evaluation.left_out.items()]


def _plain(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    return {name: score.as_json() for name, score in scores.items()}


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
    _write_csv(folder / "training.csv", [dict(epoch) for epoch in checkpoint.epochs])
    _write_csv(folder / "reliability.csv", held_out.reliability)
    names = held_out.confusion_names
    cells = [
        {"actual": actual, "predicted": predicted}
        for actual, counts in zip(names, held_out.confusion, strict=True)
        for predicted, count in zip(names, counts, strict=True)
        for _ in range(count)
    ]
    _write_csv(folder / "confusion.csv", cells)


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
        f" {primary['high']:.3f}) on {report.split_rows['test']:,} held-out rows.",
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


def _show_in_prefect(workspace: Workspace, report: RunReport, data: ValidatedData, folder: Path) -> None:
    if not in_prefect():
        return
    page = run_page(workspace, report.run_id)
    files = f"MLflow run {report.run_id} · report: `{folder / REPORT}` · validation page: `{data.page}`"
    if page:
        pages = {"report": f"/artifacts/{REPORT}", "validation page": f"/artifacts/{data.page.name}", "MLflow run": ""}
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
