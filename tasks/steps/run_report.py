"""The report of a run, made of the results of its steps."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

import yaml

from graftline.answers.tasks import TASKS
from graftline.evaluation.bootstrap import Score
from graftline.evaluation.scoring import spelt
from graftline.pages.alt_texts import alt_text, training_alt_text
from graftline.pages.headline import IN_PLAIN_WORDS, headline
from graftline.pages.making import BaseUsed, DataRead, Trained
from graftline.pages.report import BaselineRow, Link, Picture, RunReport, Table
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.learned_targets import score_of
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.report_examples import example_rows
from graftline.tasks.steps.report_tables import choice_of, tables_of, tables_of_foresight, tables_of_training
from graftline.tasks.steps.target_tables import further_tables, targets_table
from graftline.tasks.tracking.provenance import NO_COMMIT
from graftline.tasks.tracking.server import run_page
from graftline.tasks.workspace import Workspace

VALIDATION = "validation.html"


def report_of(workspace: Workspace, done: RunOutcome) -> RunReport:
    """What the page and the card tell."""
    settings, data, evaluation, candidate = done.inputs.settings, done.inputs.data, done.evaluation, done.candidate
    held_out, comparison, task = evaluation.held_out, evaluation.comparison, TASKS[data.task]
    other = _other(evaluation, task.scores.scoring.primary)
    axes = done.decision.axes
    return RunReport(
        model=candidate.model,
        version=candidate.version,
        run_id=candidate.run_id,
        verdict=done.decision.verdict,
        sentence=headline(task.shown, data.kind, held_out.rows, evaluation.scores, other=other, axes=axes),
        cautions=_cautions(data, done.run.unrepeatable),
        reasons=done.decision.reasons,
        axes=axes,
        policy_sha256=done.inputs.policy.sha256,
        labels=data.labels,
        kind=data.kind,
        scoring=task.scores.scoring,
        shown=task.shown,
        max_tokens=settings.adaptation.max_tokens,
        max_seconds=settings.adaptation.max_seconds,
        base=_base_used(done),
        data=_data_read(done),
        training=_trained(done),
        scores=evaluation.scores,
        uncalibrated_scores=held_out.calibration.scores_before,
        champion=f"champion version {evaluation.champion.version}" if evaluation.champion else None,
        champion_scores=_plain(comparison.scores) if comparison else None,
        difference=_plain(comparison.differences) if comparison else None,
        majority_label=str(held_out.majority.label),
        majority_scores=held_out.majority.scores,
        baselines=_baseline_rows(evaluation, task.scores.scoring.primary),
        classes=held_out.classes,
        slices=held_out.slices,
        groups=held_out.groups,
        targets=targets_table(evaluation),
        tables=_tables(done),
        pictures=_drawn(evaluation, done.checkpoint, _loss(done)),
        other=other[0],
        examples=example_rows(workspace, data, held_out.examples, task.shown),
        links=_links(workspace, done),
        settings=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        unrepeatable=done.run.unrepeatable,
    )


def _base_used(done: RunOutcome) -> BaseUsed:
    base = done.inputs.base
    return BaseUsed(base.uri, base.revision, base.digest, base.licence)


def _data_read(done: RunOutcome) -> DataRead:
    settings, data, domain = done.inputs.settings.data, done.inputs.data, done.inputs.domain
    return DataRead(
        path=settings.path,
        version=data.data.version,
        modified=data.data.modified,
        licence=settings.licence,
        read=data.read,
        accepted=data.accepted,
        quarantined=data.quarantined,
        twins=data.twins,
        split=data.split_rows,
        target_domain=f"{settings.target_domain}: {domain.said}" if domain else None,
    )


def _trained(done: RunOutcome) -> Trained:
    checkpoint = done.checkpoint
    return Trained(
        strategy=done.inputs.settings.adaptation.strategy,
        frozen=checkpoint.frozen,
        frozen_sha256=checkpoint.frozen_sha256,
        weights_sha256=checkpoint.weights_sha256,
        epochs=len(checkpoint.epochs),
        kept_epochs=checkpoint.kept_epochs,
        seconds=checkpoint.seconds,
        temperature=checkpoint.temperature,
        between=checkpoint.between,
        again_from=checkpoint.again_from,
        mended=checkpoint.mended,
        pretraining=checkpoint.pretrained.in_words if checkpoint.pretrained else None,
        domain=checkpoint.domain,
        answers=checkpoint.answers,
    )


def _loss(done: RunOutcome) -> str:
    """The name of what the training has made small."""
    return "loss" if done.evaluation.further else TASKS[done.inputs.data.task].scores.scoring.loss


def _tables(done: RunOutcome) -> list[Table]:
    evaluation, labels = done.evaluation, done.inputs.labels
    return [
        *choice_of(done.inputs),
        *tables_of_foresight(done.foreseen, evaluation),
        *tables_of(evaluation, done.candidate, done.decision.axes),
        *further_tables(evaluation),
        *tables_of_training(done.checkpoint, score_of(done.inputs.data), _loss(done)),
        *([Table("Wrong labels", labels.rstrip("."), (), ())] if labels else []),
    ]


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
