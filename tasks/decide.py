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
from tasks.artifacts import Outcome, Workspace
from tasks.evaluate_model import Evaluation, Scores
from tasks.history import Record, append_record, verdict_record
from tasks.register_model import Candidate
from tasks.registry import BARRED, REASONS, VERDICT, champion_of, get_version, move_champion, repair

logger = logging.getLogger("graftline.decide")


@dataclass(frozen=True)
class Decision:
    """The verdict on a candidate, and whether it was reached just now."""

    verdict: str
    reasons: tuple[str, ...]
    outcome: Outcome


@task(name="6 decide", persist_result=False, cache_policy=NO_CACHE)
def decide(workspace: Workspace, settings: GateSettings, candidate: Candidate, evaluation: Evaluation) -> Decision:
    """Judge the candidate once; a better one becomes champion.

    The record comes first, then the alias, the version's tags last: what a kill cuts short the next start finishes.
    Raises: RegistryRefusedError if the champion changed since the comparison: then another comparison is due.
    """
    records = repair(workspace, candidate.model)
    tags = get_version(candidate.model, candidate.version).tags
    record = verdict_record(records, candidate.version)
    if record is not None and record.verdict is not None and VERDICT in tags:
        return Decision(record.verdict, tuple(tags[REASONS].split("\n")), "reused")
    verdict = judge(settings, evaluation, barred=tags.get(BARRED))
    if record is None:
        _record(workspace, candidate, evaluation, verdict, records)
    _tag(candidate, verdict)
    logger.info("%s: %s", verdict.verdict, "; ".join(verdict.reasons))
    return Decision(verdict.verdict, verdict.reasons, "ran")


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


def _record(
    workspace: Workspace, candidate: Candidate, evaluation: Evaluation, verdict: gate.Verdict, records: list[Record]
) -> None:
    rival = evaluation.champion.version if evaluation.champion else None
    why, digest = "; ".join(verdict.reasons), json_sha256(evaluation.details)
    if verdict.verdict == "PROMOTE":
        move_champion(
            workspace, candidate.model, to=candidate.version, action="verdict", why=why,
            verdict=verdict.verdict, evaluation_sha256=digest, expected=rival, check_expected=True,
        )  # fmt: skip
        return
    champion = champion_of(candidate.model)
    append_record(
        workspace, candidate.model, after=records, action="verdict", version=candidate.version,
        champion_before=champion, champion_after=champion, why=why, verdict=verdict.verdict,
        evaluation_sha256=digest,
    )  # fmt: skip


def _tag(candidate: Candidate, verdict: gate.Verdict) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    number = str(candidate.version)
    client.set_model_version_tag(candidate.model, number, REASONS, "\n".join(verdict.reasons))
    client.set_model_version_tag(candidate.model, number, VERDICT, verdict.verdict)


def _scores(plain: Scores) -> dict[str, Score]:
    return {name: Score(**numbers) for name, numbers in plain.items()}
