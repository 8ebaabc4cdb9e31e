"""Step 6, decide: PROMOTE, HOLD or REJECT, recorded with reasons before any alias moves."""

import logging
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from graftline import gate
from graftline.digests import json_sha256
from graftline.metrics import Score
from graftline.scoring import SCORING
from graftline.settings import GateSettings
from tasks.approval import Approval
from tasks.artifacts import Outcome, Workspace
from tasks.evaluate_model import Evaluation, Scores
from tasks.promotion import record_verdict, repair
from tasks.register_model import Candidate
from tasks.registry import BARRED, VERDICT, get_version, note_verdict, verdict_of

logger = logging.getLogger("graftline.decide")


@dataclass(frozen=True)
class Decision:
    """The verdict on a candidate, and whether it was reached just now."""

    verdict: str
    reasons: tuple[str, ...]
    outcome: Outcome
    due: str | None = None
    """Until when a person may approve it (UTC, ISO 8601), if that is waited for."""


@task(name="6 decide", persist_result=False, cache_policy=NO_CACHE)
def decide(
    workspace: Workspace,
    settings: GateSettings,
    candidate: Candidate,
    evaluation: Evaluation,
    approval: Approval | None = None,
) -> Decision:
    """Judge the candidate once; a better one becomes champion, or waits for `approval`.

    The record comes first, then the alias, the version's tags last: what a kill cuts short the next start finishes.
    Raises: RegistryRefusedError if the champion changed since the comparison: then another comparison is due.
    """
    records = repair(workspace, candidate.model)
    version = get_version(candidate.model, candidate.version)
    record = verdict_of(records, version)
    outcome: Outcome = "reused" if record is not None and VERDICT in version.tags else "ran"
    if record is None:
        verdict = judge(settings, evaluation, barred=version.tags.get(BARRED))
        record = record_verdict(
            workspace, candidate.model, version=candidate.version, verdict=verdict.verdict, reasons=verdict.reasons,
            rival=evaluation.champion.version if evaluation.champion else None, approval=approval,
            evaluation_sha256=json_sha256(evaluation.details),
            policy_sha256=json_sha256(settings.model_dump(mode="json")),
        )  # fmt: skip
        logger.info("%s: %s", record.verdict, record.why)
    note_verdict(candidate.model, record)
    return Decision(str(record.verdict), record.reasons, outcome, record.due)


def judge(settings: GateSettings, evaluation: Evaluation, *, barred: str | None) -> gate.Verdict:
    """The gate's verdict on these numbers."""
    scoring = SCORING[evaluation.task]
    difference = _scores(evaluation.difference)[scoring.primary] if evaluation.difference else None
    return gate.decide(
        _scores(evaluation.scores),
        scoring=scoring,
        difference=difference,
        champion=f"version {evaluation.champion.version}" if evaluation.champion else None,
        baseline=evaluation.baseline,
        floors=settings.floors.of(evaluation.task),
        obstacles=[obstacle for obstacle in (barred, evaluation.obstacle) if obstacle],
    )


def _scores(plain: Scores) -> dict[str, Score]:
    return {name: Score(**numbers) for name, numbers in plain.items()}
