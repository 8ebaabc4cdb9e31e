"""Asking a person on Prefect's page whether a better model shall become champion."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from graftline.evaluation.scoring import spelt
from graftline.flows.form_fields import VISIBLE, Reason
from graftline.flows.heartbeats import fall_silent
from graftline.flows.notifying import notify
from graftline.flows.run_page import name_waiting_run, own_run
from graftline.pages.text import as_markdown
from graftline.tasks.registry.promotion import NAME_CHARACTERS, answer_approval
from graftline.tasks.registry.records import Answer
from graftline.tasks.steps.decide import Decision
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.workspace import Workspace

logger = logging.getLogger("graftline.approval")


class ApprovalForm(RunInput):
    """The form on the page of a run that waits."""

    decision: Literal["approve", "reject"] = Field(description="approve makes this version the champion.")
    reason: Reason = Field(description="Why; stands in the history.")
    name: Annotated[str, Field(pattern=VISIBLE, max_length=NAME_CHARACTERS)] = Field(
        description="Who you are; stands in the history."
    )


def wait_for_approval(
    workspace: Workspace, candidate: Candidate, evaluation: Evaluation, decision: Decision
) -> Decision:
    """Suspend the run until someone has filled in the form, then record the answer; the run starts again from the top.

    A run that no deployment started cannot be suspended: it says how to answer, and ends with HOLD, as one does that
    nobody answers in time.
    Raises: RegistryRefusedError if the version was answered for elsewhere meanwhile.
    """
    if decision.due is None:
        return decision
    run, left = _suspendable_run(), _seconds_until(decision.due)
    if run is None or left <= 0:
        logger.info(
            "waiting for an approval until %s: graftline approve %s --version %d --by NAME --reason ... [--reject]",
            decision.due,
            candidate.model,
            candidate.version,
        )
        return decision
    key = f"approval-{candidate.version}"
    form = ApprovalForm.with_initial_data(description=_question(candidate, evaluation, decision))
    name_waiting_run(candidate.model, candidate.version)
    if _form_sent(run, key) is None:  # afterwards the run starts again from the top, and comes by here once more
        notify("waiting_approval", f"{candidate.model} v{candidate.version}", f"may be champion until {decision.due}")
    fall_silent()  # a word that comes later would have the rule about lost runs wait for the next one
    given = suspend_flow_run(wait_for_input=form, timeout=left, key=key)
    answer = Answer(given.decision, given.name, given.reason, _answered_at(run, key))
    record = answer_approval(workspace, candidate.model, candidate.version, answer)
    logger.info("%s: %s", record.verdict, record.why)
    return replace(
        decision, verdict=str(record.verdict), reasons=record.reasons, outcome="ran", due=record.due, kept=()
    )


def _suspendable_run() -> FlowRun | None:
    run = own_run()
    return run if run is not None and run.deployment_id is not None else None


def _seconds_until(due: str) -> int:
    return int((datetime.fromisoformat(due) - datetime.now(UTC)).total_seconds())


def _answered_at(run: FlowRun, key: str) -> str:
    """When the form was sent (UTC, ISO 8601); the run itself may have had to wait for a worker since."""
    return (_form_sent(run, key) or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")


def _form_sent(run: FlowRun, key: str) -> datetime | None:
    with get_client(sync_client=True) as client:
        inputs = client.filter_flow_run_input(
            run.id, key_prefix=f"suspended-{key}-response", limit=1, exclude_keys=set()
        )
    return inputs[0].created if inputs else None


def _question(candidate: Candidate, evaluation: Evaluation, decision: Decision) -> str:
    """The text above the form's fields, in Markdown."""
    champion = evaluation.comparison.scores if evaluation.comparison else {}
    lines = [
        f"**{candidate.model} version {candidate.version}** may become champion until {decision.due}. The gate says:",
        "",
        *(f"- {as_markdown(reason)}" for reason in decision.reasons[1:]),
        "",
        f"| score | this version | 95 % interval |{' champion |' if champion else ''}",
        f"| --- | --- | --- |{' --- |' if champion else ''}",
    ]
    for name, score in evaluation.scores.items():
        shown = f"| {spelt(name)} | {score['value']:.4f} | {score['low']:.4f} to {score['high']:.4f} |"
        lines.append(shown + (f" {champion[name].value:.4f} |" if champion else ""))
    return "\n".join(lines)
