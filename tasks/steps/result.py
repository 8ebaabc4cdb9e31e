"""The result that `adapt --json` prints. Scripts are written against these names: add, never rename."""

from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.evaluation.scoring import spelt
from graftline.pages.making import kept
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.outcome import RunOutcome
from graftline.verdict.axis import against_the_champion


def result_of(done: RunOutcome, report: Path, seconds: float, *, again: bool = False) -> dict[str, JsonValue]:
    """The result of a run as plain values, with `summary` for a person.

    With `again` that of the same run when it is started again and nothing has changed.
    """
    data, base = done.inputs.data, done.inputs.base
    steps = dict.fromkeys(done.steps, "reused") if again else done.steps
    primary = TASKS[data.task].scores.scoring.primary
    result: dict[str, JsonValue] = {
        "model": done.candidate.model,
        "version": done.candidate.version,
        "verdict": done.decision.verdict,
        "reasons": list(done.decision.reasons),
        "axes": [
            {"axis": axis.name, "outcome": axis.outcome, "blocks": axis.blocks, "sentence": axis.sentence}
            for axis in done.decision.axes
        ],
        "rows_enough": done.decision.rows_enough,
        "evidence": _evidence(done),
        "scores": cast("JsonValue", done.evaluation.scores),
        "baselines": {
            name: {"against": rival.against, **rival.scores[primary].as_json()}
            for name, rival in done.evaluation.baselines.items()
        },
        "rows": {
            "read": data.read,
            "accepted": data.accepted,
            "quarantined": data.quarantined,
            "twins": data.twins,
        },
        "groups": done.evaluation.held_out.groups,
        **_target_domain(done),
        "data_version": data.data.version,
        "data_modified": data.data.modified,
        "base_model_sha256": base.digest,
        "weights_sha256": done.checkpoint.weights_sha256,
        "frozen_sha256": done.checkpoint.frozen_sha256,
        "split_from": data.split_from,
        "split_sha256": data.split_sha256,
        "test_sha256": data.test_sha256,
        "predictions_sha256": done.evaluation.predictions_sha256,
        "run_id": done.candidate.run_id,
        "report": str(report),
        "steps": {**steps},
        "seconds": round(seconds, 1),
    }
    if done.evaluation.further:
        result["targets"] = {name: cast("JsonValue", one.scores) for name, one in done.evaluation.further.items()}
    return {**result, "summary": _summary(done, report, primary, unchanged=set(steps.values()) == {"reused"})}


def _target_domain(done: RunOutcome) -> dict[str, JsonValue]:
    """The rows of the target domain and the scores on labelled ones, as far as there are some."""
    domain, seen = done.inputs.domain, done.evaluation.target
    rows: dict[str, JsonValue] = {}
    if domain:
        counts = domain.rows
        rows = {"read": counts.read, "accepted": counts.accepted, "quarantined": counts.quarantined}
        rows |= {"learned_from": domain.learned, "way": done.checkpoint.domain}
    if seen:
        rows |= {"judging_rows": seen.rows, "scores": cast("JsonValue", seen.scores)}
    return {"target_domain": rows} if rows else {}


def _evidence(done: RunOutcome) -> JsonValue:
    """What the held-out rows said against the champion, and what earlier looks at them had left; None without one."""
    seen = against_the_champion(done.decision.axes)
    if not seen:
        return None
    return {name: seen[name] for name in ("difference", "p", "level", "spent", "looks")}


def _summary(done: RunOutcome, report: Path, primary: str, *, unchanged: bool) -> str:
    data, base, checkpoint = done.inputs.data, done.inputs.base, done.checkpoint
    kept_epochs = kept(checkpoint.kept_epochs, checkpoint.between, checkpoint.again_from)
    score = done.evaluation.scores[primary]
    twins = f"; {data.twins:,} accepted held-out rows are twins of others, not scored" if data.twins else ""
    groups = done.evaluation.held_out.groups
    of_groups = "" if groups is None else f" of {groups:,} groups"
    lines = {
        "data": f"version {data.data.version}{' (modified)' if data.data.modified else ''}",
        "rows": f"{data.read:,} read = {data.accepted:,} accepted + {data.quarantined:,} quarantined{twins}",
        "base model": f"{base.uri} ({base.digest[:12]})",
        "frozen": checkpoint.frozen,
        "training": f"{len(checkpoint.epochs)} epochs, {kept_epochs}, {checkpoint.seconds:.0f} s",
        spelt(primary): f"{score['value']:.4f} on {data.split_rows['test']:,} held-out rows{of_groups}"
        f" (95 % interval {score['low']:.4f} to {score['high']:.4f})",
        **{f"target {name}": _of_target(one) for name, one in done.evaluation.further.items()},
        "verdict": f"{done.decision.verdict}: {'; '.join(done.decision.reasons)}",
        "registered": f"{done.candidate.model} version {done.candidate.version}"
        + (" (nothing changed since: no step ran again)" if unchanged else ""),
        "report": str(report),
        "validation": str(data.page),
    }
    if done.run.unrepeatable:
        lines["reproduce"] = f"not possible: {done.run.unrepeatable}"
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def _of_target(evaluation: Evaluation) -> str:
    """The main score of a target beside the first one."""
    primary = TASKS[evaluation.task].scores.scoring.primary
    score = evaluation.scores[primary]
    return (
        f"{spelt(primary)} {score['value']:.4f} on {evaluation.held_out.rows:,} held-out rows"
        f" (95 % interval {score['low']:.4f} to {score['high']:.4f})"
    )
