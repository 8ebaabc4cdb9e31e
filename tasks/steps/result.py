"""What `adapt --json` prints. Scripts are written against these names: add, never rename."""

from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.evaluation.scoring import SCORING, spelt
from graftline.pages.report import kept
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.baselines import Baselines
from graftline.tasks.steps.decide import Decision
from graftline.tasks.steps.evaluate_model import Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.steps.source_task import SourceTask


def result_of(
    data: ValidatedData,
    base: BaseModel,
    checkpoint: Checkpoint,
    baselines: Baselines,
    evaluation: Evaluation,
    candidate: Candidate,
    decision: Decision,
    report: Path,
    seconds: float,
    source: SourceTask | None = None,
) -> dict[str, JsonValue]:
    """The result of a run as plain values, with `summary` for a person."""
    primary = SCORING[evaluation.task].primary
    result: dict[str, JsonValue] = {
        "model": candidate.model,
        "version": candidate.version,
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "axes": [
            {"axis": axis.name, "outcome": axis.outcome, "blocks": axis.blocks, "sentence": axis.sentence}
            for axis in decision.axes
        ],
        "rows_enough": decision.rows_enough,
        "scores": cast("JsonValue", evaluation.scores),
        "baselines": {
            name: {"against": rival.against, **rival.scores[primary].as_json()}
            for name, rival in evaluation.baselines.items()
        },
        "rows": {"read": data.read, "accepted": data.accepted, "quarantined": data.quarantined},
        "data_version": data.data.version,
        "data_modified": data.data.modified,
        "base_model_sha256": base.digest,
        "weights_sha256": checkpoint.weights_sha256,
        "frozen_sha256": checkpoint.frozen_sha256,
        "split_sha256": data.split_sha256,
        "test_sha256": data.test_sha256,
        "predictions_sha256": evaluation.predictions_sha256,
        "run_id": candidate.run_id,
        "report": str(report),
        "steps": {
            "validate_data": data.folder.outcome,
            "fetch_model": base.outcome,
            **({"source_task": source.folder.outcome} if source else {}),
            "fine_tune": checkpoint.folder.outcome,
            "baselines": baselines.outcome,
            "evaluate_model": evaluation.folder.outcome,
            "register_model": candidate.outcome,
            "decide": decision.outcome,
        },
        "seconds": round(seconds, 1),
    }
    return {**result, "summary": _summary(data, base, checkpoint, baselines, evaluation, candidate, decision, report)}


def _summary(
    data: ValidatedData,
    base: BaseModel,
    checkpoint: Checkpoint,
    baselines: Baselines,
    evaluation: Evaluation,
    candidate: Candidate,
    decision: Decision,
    report: Path,
) -> str:
    name = SCORING[evaluation.task].primary
    score = evaluation.scores[name]
    outcomes = (data.folder, base, checkpoint.folder, baselines, evaluation.folder, candidate, decision)
    nothing_new = all(step.outcome == "reused" for step in outcomes)
    lines = {
        "data": f"version {data.data.version}{' (modified)' if data.data.modified else ''}",
        "rows": f"{data.read:,} read = {data.accepted:,} accepted + {data.quarantined:,} quarantined",
        "base model": f"{base.uri} ({base.digest[:12]})",
        "frozen": checkpoint.frozen,
        "training": f"{len(checkpoint.epochs)} epochs, {kept(checkpoint.kept_epochs)}, {checkpoint.seconds:.0f} s",
        spelt(name): f"{score['value']:.4f} on {data.split_rows['test']:,} held-out rows"
        f" (95 % interval {score['low']:.4f} to {score['high']:.4f})",
        "verdict": f"{decision.verdict}: {'; '.join(decision.reasons)}",
        "registered": f"{candidate.model} version {candidate.version}"
        + (" (nothing changed since: no step ran again)" if nothing_new else ""),
        "report": str(report),
        "validation": str(data.page),
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())
