"""Step 6, decide: PROMOTE, HOLD or REJECT, recorded with reasons before any alias moves."""

import json
import logging
from dataclasses import dataclass

from graftline.answers.tasks import TASKS
from graftline.evaluation.bootstrap import Score
from graftline.tasks.registry.approval import required_approval
from graftline.tasks.registry.binding import bound_tags
from graftline.tasks.registry.promotion import record_verdict, repair
from graftline.tasks.registry.versions import BARRED, VERDICT, get_version, note_verdict, verdict_of
from graftline.tasks.serving.trial import Trial
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome
from graftline.tasks.steps.evaluate_model import Evaluation
from graftline.tasks.steps.held_out import split_changes
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.tracking.server import client, logged_settings
from graftline.tasks.workspace import Workspace
from graftline.verdict import gate
from graftline.verdict.axis import Axis
from graftline.verdict.policy import Policy

# The tags that Graftline notes on a judged version, beside verdict and reasons.
POLICY_SHA256, AXES = "graftline.policy_sha256", "graftline.axes"

logger = logging.getLogger("graftline.decide")


@dataclass(frozen=True)
class Decision:
    """The verdict on a candidate, why, and whether it was reached just now."""

    verdict: str
    reasons: tuple[str, ...]
    axes: tuple[Axis, ...]
    rows_enough: int | None
    """How many held-out rows would be enough to show the wanted difference."""
    outcome: Outcome
    due: str | None = None
    """Until when a person may approve it (UTC, ISO 8601), if that is waited for."""


@step("6 decide")
def decide(workspace: Workspace, policy: Policy, candidate: Candidate, evaluation: Evaluation) -> Decision:
    """Judge the candidate once; a better one becomes champion, or waits for the approval that the policy asks for.

    The record comes first, then the alias, the version's tags last: what a kill cuts short the next start finishes.
    Raises: RegistryRefusedError if the champion changed since the comparison: then another comparison is due.
    """
    records = repair(workspace, candidate.model)
    version = get_version(candidate.model, candidate.version)
    record = verdict_of(records, version)
    outcome: Outcome = "reused" if record is not None and VERDICT in version.tags else "ran"
    verdict = judge(
        policy,
        evaluation,
        barred=version.tags.get(BARRED),
        unfair=_unfair(candidate, evaluation),
        trial=candidate.trial,
    )
    if record is None:
        record = record_verdict(
            workspace,
            candidate.model,
            version=candidate.version,
            verdict=verdict.verdict,
            reasons=verdict.reasons,
            rival=evaluation.champion.version if evaluation.champion else None,
            approval=required_approval(policy),
            evaluation_sha256=evaluation.sha256,
            policy_sha256=policy.sha256,
            files=candidate.files,
            bound=bound_tags(version.tags),
        )
        logger.info("%s: %s", record.verdict, record.why)
    if AXES not in version.tags:  # also where a kill came after the verdict
        _tag(candidate, policy, verdict)
    note_verdict(candidate.model, record)
    return Decision(str(record.verdict), record.reasons, verdict.axes, verdict.rows_enough, outcome, record.due)


def judge(
    policy: Policy, evaluation: Evaluation, *, barred: str | None, unfair: str | None, trial: Trial | None
) -> gate.Verdict:
    """The gate's verdict on these numbers."""
    rival = evaluation.comparison or (gate.Unscored(evaluation.obstacle) if evaluation.obstacle else None)
    return gate.decide(
        gate.Evaluated(
            TASKS[evaluation.task].scores.scoring,
            {name: Score(**numbers) for name, numbers in evaluation.scores.items()},
            unfair=[unfair] if unfair else [],
            barred=barred,
            serving=trial.limited if trial else None,
            hostile=trial.hostile if trial else None,
            behaviour=evaluation.held_out.behaviour,
            left_out=evaluation.left_out,
        ),
        rival,
        baselines=evaluation.baselines,
        policy=policy,
    )


def _unfair(candidate: Candidate, evaluation: Evaluation) -> str | None:
    """Why the champion may have learned from rows that are held out now, if so."""
    if evaluation.champion is None:
        return None
    champion = get_version(evaluation.champion.model, evaluation.champion.version)
    changed = split_changes(logged_settings(candidate.run_id), logged_settings(str(champion.run_id)))
    if not changed:
        return None
    return (
        f"the split changed since champion version {evaluation.champion.version} was made ({changed}), so held-out rows"
        " may be rows that it learned from: go back to its split, or train it again on this one"
    )


def _tag(candidate: Candidate, policy: Policy, verdict: gate.Verdict) -> None:
    tags = {POLICY_SHA256: policy.sha256, AXES: json.dumps({axis.name: axis.outcome for axis in verdict.axes})}
    server = client()
    for name, value in tags.items():
        server.set_model_version_tag(candidate.model, str(candidate.version), name, value)
