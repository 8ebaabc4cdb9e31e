"""Step 6, decide: PROMOTE, HOLD or REJECT, recorded with reasons before any alias moves."""

import json
import logging
from dataclasses import dataclass, replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from graftline import gate
from graftline.axes import Axis
from graftline.behaviour import behaviour_of
from graftline.digests import json_sha256
from graftline.metrics import Score
from graftline.policy import Policy
from tasks.artifacts import Outcome, Workspace
from tasks.evaluate_model import Evaluation
from tasks.history import Record, append_record, verdict_record
from tasks.register_model import Candidate
from tasks.registry import BARRED, REASONS, VERDICT, champion_of, get_version, move_champion, repair
from tasks.serving import Trial

# What Graftline notes on a judged version, beside verdict and reasons.
POLICY_SHA256, AXES = "graftline.policy_sha256", "graftline.axes"
# What decides on which side of the split a row lies, as the settings of a run are logged.
SIDES = ("data.group", "data.input")
TEST_SHARE = "data.test_share"

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


@task(name="6 decide", persist_result=False, cache_policy=NO_CACHE)
def decide(workspace: Workspace, policy: Policy, candidate: Candidate, evaluation: Evaluation) -> Decision:
    """Judge the candidate once; a better one becomes champion.

    The record comes first, then the alias, the version's tags last: what a kill cuts short the next start finishes.
    Raises: RegistryRefusedError if the champion changed since the comparison: then another comparison is due.
    """
    records = repair(workspace, candidate.model)
    tags = get_version(candidate.model, candidate.version).tags
    record = verdict_record(records, candidate.version)
    verdict = judge(
        policy, evaluation, barred=tags.get(BARRED), unfair=_unfair(candidate, evaluation), trial=candidate.trial
    )
    if record is not None and record.verdict is not None and VERDICT in tags:
        return Decision(record.verdict, tuple(tags[REASONS].split("\n")), verdict.axes, verdict.rows_enough, "reused")
    if record is None:
        _record(workspace, candidate, evaluation, verdict, records)
    _tag(candidate, policy, verdict)
    logger.info("%s: %s", verdict.verdict, "; ".join(verdict.reasons))
    return Decision(verdict.verdict, verdict.reasons, verdict.axes, verdict.rows_enough, "ran")


def judge(
    policy: Policy, evaluation: Evaluation, *, barred: str | None, unfair: str | None, trial: Trial | None
) -> gate.Verdict:
    """The gate's verdict on these numbers; one that only a person may carry out is held."""
    rival = evaluation.comparison or (gate.Unscored(evaluation.obstacle) if evaluation.obstacle else None)
    verdict = gate.decide(
        gate.Evaluated(
            evaluation.task,
            {name: Score(**numbers) for name, numbers in evaluation.scores.items()},
            unfair=[unfair] if unfair else [],
            barred=barred,
            serving=trial.limited if trial else None,
            hostile=trial.hostile if trial else None,
            behaviour=behaviour_of(evaluation.details["behaviour"]) if "behaviour" in evaluation.details else None,
            left_out=evaluation.left_out,
        ),
        rival,
        baselines=evaluation.baselines,
        policy=policy,
    )
    if verdict.verdict != "PROMOTE" or policy.approval_within_hours is None:
        return verdict
    why = "the policy asks for a person's approval: `graftline promote NAME --version N` gives it"
    waiting = Axis("approval", "unknown", why, "HOLD")
    return replace(verdict, verdict="HOLD", reasons=(why, *verdict.reasons), axes=(*verdict.axes, waiting))


def _unfair(candidate: Candidate, evaluation: Evaluation) -> str | None:
    """Why the champion may have learnt from rows that are held out now, if so.

    A row's side depends on its group and the shares only, so this takes another split than the champion's.
    """
    if evaluation.champion is None:
        return None
    champion = get_version(evaluation.champion.model, evaluation.champion.version)
    now, then = _logged_settings(candidate.run_id), _logged_settings(str(champion.run_id))
    if TEST_SHARE not in now or TEST_SHARE not in then:
        return None  # a champion from elsewhere: what it learnt from is not known to be held out or not
    changed = [name for name in SIDES if now.get(name) != then.get(name)]
    if float(now[TEST_SHARE]) > float(then[TEST_SHARE]):
        changed.append(TEST_SHARE)
    if not changed:
        return None
    was = ", ".join(f"{name} was {then.get(name)} and is {now.get(name)}" for name in changed)
    return (
        f"the split changed since champion version {evaluation.champion.version} was made ({was}), so held-out rows may"
        " be rows that it learnt from: go back to its split, or train it again on this one"
    )


def _logged_settings(run_id: str) -> dict[str, str]:
    """The settings of an MLflow run; none where there is no such run."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return dict(MlflowClient().get_run(run_id).data.params)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


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


def _tag(candidate: Candidate, policy: Policy, verdict: gate.Verdict) -> None:
    from mlflow import MlflowClient

    tags = {
        POLICY_SHA256: policy.sha256,
        AXES: json.dumps({axis.name: axis.outcome for axis in verdict.axes}),
        REASONS: "\n".join(verdict.reasons),
        # Last: with it the verdict counts as written down.
        VERDICT: verdict.verdict,
    }
    client = MlflowClient()
    for name, value in tags.items():
        client.set_model_version_tag(candidate.model, str(candidate.version), name, value)
