"""Step 6, decide: PROMOTE, HOLD or REJECT, recorded with reasons before any alias moves."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.digests import canonical_json
from graftline.errors import GraftlineError
from graftline.evaluation.bootstrap import Score
from graftline.tasks.registry.approval import required_approval
from graftline.tasks.registry.binding import AXES, POLICY_SHA256, bound_files, bound_tags, names_of_files
from graftline.tasks.registry.looks import allowance_of, look_of, looks_before, together
from graftline.tasks.registry.promotion import record_verdict, repair
from graftline.tasks.registry.records import Look, Record
from graftline.tasks.registry.versions import BARRED, VERDICT, get_version, note_verdict, verdict_of
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.serving.trial import Trial
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome
from graftline.tasks.steps.answer_costs import Costs, cost_differences, costs_compared
from graftline.tasks.steps.champion import dropped_targets
from graftline.tasks.steps.evaluation import SUMMARY, Evaluation
from graftline.tasks.steps.held_out import split_changes
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.tracking.server import client, logged_settings
from graftline.tasks.workspace import Workspace
from graftline.verdict import by_costs, gate
from graftline.verdict.axis import Axis
from graftline.verdict.domain_axes import InTargetDomain
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy
from graftline.verdict.several_targets import TargetSeen, decide_several

if TYPE_CHECKING:
    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.row_gains import RowGains

# As MLflow keeps it beside the evaluation.
POLICY_FILE = "policy.json"

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
    kept: tuple[str, ...] = ()
    """The files that lie with the version's run in MLflow, and are bound by the record of this verdict."""


Pages = Callable[[Decision], Mapping[str, bytes]]


def no_pages(_: Decision) -> Mapping[str, bytes]:
    """Where nobody is shown anything."""
    return {}


@step("6 decide")
def decide(
    workspace: Workspace, policy: Policy, candidate: Candidate, evaluation: Evaluation, pages: Pages = no_pages
) -> Decision:
    """Judge the candidate once; a better one becomes champion, or waits for the approval that the policy asks for.

    What it rests on and the pages that tell it are stored first, for the record binds them by their digests. Then come
    the record, the alias, the version's tags: what a kill cuts short the next start finishes.
    Raises: RegistryRefusedError if the champion changed since the comparison: then another comparison is due.
    """
    records = repair(workspace, candidate.model)
    version = get_version(candidate.model, candidate.version)
    record = verdict_of(records, version)
    outcome: Outcome = "reused" if record is not None and VERDICT in version.tags else "ran"
    evidence = _evidence(policy, evaluation, looks_before(records, record))
    verdict = judge(
        policy,
        evaluation,
        barred=version.tags.get(BARRED),
        unfair=_unfair(candidate, evaluation),
        dropped=_dropped(candidate, evaluation),
        trial=candidate.trial,
        allowed=evidence.allowed,
    )
    if record is None:

        def bind(name: str, reasons: tuple[str, ...], due: str | None) -> dict[str, str]:
            drawn = pages(Decision(name, reasons, verdict.axes, verdict.rows_enough, "ran", due))
            tags = bound_tags({**version.tags, **_tags(policy, verdict)})
            return tags | _stored(workspace, policy, candidate, evaluation, drawn)

        record = _recorded(workspace, policy, candidate, evaluation, verdict, evidence.look(records), bind)
    if AXES not in version.tags:  # also where a kill came after the verdict
        _tag(candidate, policy, verdict)
    note_verdict(candidate.model, record)
    axes, enough, kept = verdict.axes, verdict.rows_enough, names_of_files(record.bound)
    return Decision(str(record.verdict), record.reasons, axes, enough, outcome, record.due, kept)


@dataclass(frozen=True)
class _Evidence:
    """What the held-out rows say against the champion, by target; None is the first one."""

    deciding: "Mapping[str | None, tuple[RowGains | None, Difference | None]]"
    """The gains and main differences of which one has to be better."""
    allowed: Mapping[str | None, Allowance | None]
    """What earlier looks at these rows have left."""
    by_costs: bool

    def look(self, records: list[Record]) -> Look | None:
        """This look at them, as the history keeps it."""
        return together(
            [
                look_of(records, gains, self.allowed[name], difference, name, by_costs=self.by_costs)
                for name, (gains, difference) in self.deciding.items()
            ]
        )


def _evidence(policy: Policy, evaluation: Evaluation, before: list[Record]) -> _Evidence:
    deciding = _deciding(policy, evaluation)
    among = len(deciding)
    allowed = {name: allowance_of(policy, gains, before, name, among=among) for name, (gains, _) in deciding.items()}
    return _Evidence(deciding, allowed, policy.main_score == "costs")


def _recorded(
    workspace: Workspace,
    policy: Policy,
    candidate: Candidate,
    evaluation: Evaluation,
    verdict: gate.Verdict,
    look: Look | None,
    bind: Callable[[str, tuple[str, ...], str | None], dict[str, str]],
) -> Record:
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
        look=look,
        files=candidate.files,
        bind=bind,
    )
    logger.info("%s: %s", record.verdict, record.why)
    return record


def _stored(
    workspace: Workspace, policy: Policy, candidate: Candidate, evaluation: Evaluation, pages: Mapping[str, bytes]
) -> dict[str, str]:
    """Keep policy, evaluation and pages with the version's run. Returns: their digests, as a record binds them."""
    if candidate.files is None:
        return {}
    files = {
        POLICY_FILE: canonical_json(policy.model_dump(mode="json")),
        SUMMARY: (evaluation.folder.path / SUMMARY).read_bytes(),
        **pages,
    }
    with scratch_folder(workspace) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        client().log_artifacts(candidate.run_id, str(folder))
    return bound_files(files)


def _deciding(policy: Policy, evaluation: Evaluation) -> "dict[str | None, tuple[RowGains | None, Difference | None]]":
    """The gains and main differences of which one has to be better, by target; None is the first target.

    On the rows on which the policy wants the improvement.
    """
    if policy.main_score == "costs":
        costs = _costs(evaluation)
        return {None: (costs.row_gains, costs.main_difference)}
    if policy.improvement != "held_out":
        return {None: _in_the_target_domain(evaluation)}
    each = evaluation.each
    if policy.main_target is not None and evaluation.further:
        main = None if policy.main_target == evaluation.first else policy.main_target
        each = {main: each[main]}
    return {name: (one.row_gains, one.main_difference) for name, one in each.items()}


def judge(
    policy: Policy,
    evaluation: Evaluation,
    *,
    barred: str | None,
    unfair: str | None,
    trial: Trial | None,
    dropped: Sequence[str] = (),
    allowed: Mapping[str | None, Allowance | None] = MappingProxyType({}),
) -> gate.Verdict:
    """The gate's verdict on these numbers; `allowed` is what is left of the evidence, by target, None the first."""
    first = replace(_evaluated(evaluation, barred=barred, unfair=unfair, trial=trial), dropped=dropped)
    if policy.main_score == "costs":
        costs = _costs(evaluation)
        return by_costs.decide(
            first,
            _rival(evaluation),
            costs.comparison,
            baselines={name: (one, costs.baselines[name]) for name, one in evaluation.baselines.items()},
            policy=policy,
            allowed=allowed.get(None),
        )
    if not evaluation.further:
        return gate.decide(
            first,
            _rival(evaluation),
            baselines=evaluation.baselines,
            policy=policy,
            allowed=allowed.get(None),
        )
    seen = [
        TargetSeen(
            name or str(evaluation.first),
            first if name is None else _evaluated(one),
            _rival(one),
            one.baselines,
            allowed.get(name),
        )
        for name, one in evaluation.each.items()
    ]
    return decide_several(seen, policy)


def _costs(evaluation: Evaluation) -> Costs:
    if evaluation.costs is None:
        raise GraftlineError("the policy's main_score is costs, and this evaluation has none; set evaluation.costs")
    return costs_compared(evaluation.costs)


def _rival(evaluation: Evaluation) -> "Comparison | gate.Unscored | None":
    return evaluation.comparison or (gate.Unscored(evaluation.obstacle) if evaluation.obstacle else None)


def _evaluated(
    evaluation: Evaluation, *, barred: str | None = None, unfair: str | None = None, trial: Trial | None = None
) -> gate.Evaluated:
    return gate.Evaluated(
        TASKS[evaluation.task].scores.scoring,
        {name: Score(**numbers) for name, numbers in evaluation.scores.items()},
        unfair=[unfair] if unfair else [],
        barred=barred,
        serving=trial.limited if trial else None,
        hostile=trial.hostile if trial else None,
        behaviour=evaluation.held_out.behaviour,
        left_out=evaluation.left_out,
        costs=cost_differences(evaluation.costs),
        groups=evaluation.held_out.groups,
        target=_in_target_domain(evaluation),
        beside_teacher=evaluation.beside_teacher,
    )


def _in_target_domain(evaluation: Evaluation) -> InTargetDomain | None:
    seen = evaluation.target
    return InTargetDomain(seen.comparison, seen.rivals, seen.obstacle) if seen else None


def _in_the_target_domain(evaluation: Evaluation) -> "tuple[RowGains | None, Difference | None]":
    seen = evaluation.target
    if seen is None or seen.comparison is None:
        return None, None
    return seen.row_gains, seen.comparison.differences[TASKS[evaluation.task].scores.scoring.primary]


def _unfair(candidate: Candidate, evaluation: Evaluation) -> str | None:
    """Why the champion may have learned from rows that are held out now, if so."""
    changed = split_changes(*_settings_now_and_then(candidate, evaluation))
    if not changed or evaluation.champion is None:
        return None
    return (
        f"the split changed since champion version {evaluation.champion.version} was made ({changed}), so held-out rows"
        " may be rows that it learned from: go back to its split, or train it again on this one"
    )


def _dropped(candidate: Candidate, evaluation: Evaluation) -> list[str]:
    return dropped_targets(*_settings_now_and_then(candidate, evaluation))


def _settings_now_and_then(candidate: Candidate, evaluation: Evaluation) -> tuple[dict[str, str], dict[str, str]]:
    """Those that the candidate was made with, and the champion; none where there is none."""
    if evaluation.champion is None:
        return {}, {}
    champion = get_version(evaluation.champion.model, evaluation.champion.version)
    return logged_settings(candidate.run_id), logged_settings(str(champion.run_id))


def _tags(policy: Policy, verdict: gate.Verdict) -> dict[str, str]:
    return {POLICY_SHA256: policy.sha256, AXES: json.dumps({axis.name: axis.outcome for axis in verdict.axes})}


def _tag(candidate: Candidate, policy: Policy, verdict: gate.Verdict) -> None:
    server = client()
    for name, value in _tags(policy, verdict).items():
        server.set_model_version_tag(candidate.model, str(candidate.version), name, value)
