"""Where the policy asks for it, a good verdict waits for a person; no answer in time is HOLD."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.approval import Approval, required_approval
from graftline.tasks.registry.carrying_out import LATE_SECONDS
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.promotion import answer_approval, override, promote, record_verdict
from graftline.tasks.registry.records import Answer, Record
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import REASONS, VERDICT
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy
from tests.support.registered import MODEL, RegistryState, move_by_hand, register, state_of

pytestmark = pytest.mark.full

DAY_SECONDS = 86_400.0


def ask(workspace: Workspace, verdict: str = "PROMOTE", seconds: float = DAY_SECONDS) -> Record:
    """Version 1 is the champion; version 2 has the gate's verdict and the policy wants an approval."""
    register(workspace, "PROMOTE", None, "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    return record_verdict(
        workspace, MODEL, version=2, verdict=verdict, reasons=("better by far",), rival=1, evaluation_sha256="e",
        policy_sha256="p", approval=Approval(seconds),
    )  # fmt: skip


def answer(decision: Literal["approve", "reject"], *, later_seconds: float = 0, reason: str = "I looked") -> Answer:
    when = datetime.now(UTC) + timedelta(seconds=later_seconds)
    return Answer(decision, "Ada", reason, when.isoformat(timespec="seconds"))


def tags() -> tuple[str, list[str]]:
    found = MlflowClient().get_model_version(MODEL, "2").tags
    return found[VERDICT], found[REASONS].split("\n")


def test_a_good_verdict_waits_on_hold_until_it_is_approved(workspace: Workspace) -> None:
    asked = ask(workspace)
    waits = f"the gate says PROMOTE, but the policy wants a person's approval, until {asked.due}"
    assert (asked.verdict, asked.reasons) == ("HOLD", (waits, "better by far"))
    assert state_of(workspace) == RegistryState(1, (("promote", None, 1),))

    given = answer("approve")
    record = answer_approval(workspace, MODEL, 2, given)
    assert (record.action, record.verdict, record.answer, record.due) == ("approval", "PROMOTE", given, None)
    assert read_history(workspace, MODEL)[-1] == record
    assert state_of(workspace) == RegistryState(2, (("promote", None, 1), ("approval", 1, 2)))
    assert tags() == ("PROMOTE", ["approved by Ada: I looked", "better by far"])
    assert verify(workspace, MODEL).findings == ()


def test_a_rejected_version_is_not_champion_and_takes_an_override(workspace: Workspace) -> None:
    ask(workspace)
    record = answer_approval(workspace, MODEL, 2, answer("reject"))
    assert (record.verdict, record.why) == ("REJECT", "rejected by Ada: I looked; better by far")
    assert tags()[0] == "REJECT"
    with pytest.raises(RegistryRefusedError, match="has the verdict REJECT, expected PROMOTE"):
        promote(workspace, MODEL, 2, "a test")
    assert override(workspace, MODEL, 2, "Ada was wrong").verdict == "REJECT"


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_what_the_gate_refused_waits_for_nobody(workspace: Workspace, verdict: str) -> None:
    asked = ask(workspace, verdict)
    assert (asked.verdict, asked.due) == (verdict, None)
    with pytest.raises(RegistryRefusedError, match=f"does not wait for an approval, its verdict is {verdict}"):
        answer_approval(workspace, MODEL, 2, answer("approve"))
    assert state_of(workspace).champion == 1


def test_there_is_one_answer(workspace: Workspace) -> None:
    ask(workspace)
    answer_approval(workspace, MODEL, 2, answer("reject"))
    with pytest.raises(RegistryRefusedError, match="does not wait for an approval, its verdict is REJECT"):
        answer_approval(workspace, MODEL, 2, answer("approve"))
    assert state_of(workspace).champion == 1


def test_while_it_waits_it_is_neither_promoted_nor_overridden(workspace: Workspace) -> None:
    ask(workspace)
    for call in (promote, override):
        with pytest.raises(RegistryRefusedError, match=r"version 2: waits for an approval until .* `graftline approve"):
            call(workspace, MODEL, 2, "a test")


def test_an_answer_after_the_deadline_is_refused_and_the_record_says_that_none_came(workspace: Workspace) -> None:
    asked = ask(workspace)
    with pytest.raises(RegistryRefusedError, match=r"waited for an answer until .* so it stays on HOLD"):
        answer_approval(workspace, MODEL, 2, answer("approve", later_seconds=DAY_SECONDS + 60))
    newest = read_history(workspace, MODEL)[-1]
    assert (newest.action, newest.verdict, newest.answer) == ("approval", "HOLD", None)
    assert newest.reasons[0] == f"no answer by {asked.due}"
    assert state_of(workspace) == RegistryState(1, (("promote", None, 1),))


def test_no_answer_by_the_deadline_is_recorded_by_the_next_command_once(workspace: Workspace) -> None:
    asked = ask(workspace, seconds=-LATE_SECONDS - 60)
    promotion.history(workspace, MODEL)
    records, champion = promotion.history(workspace, MODEL)
    assert champion == 1
    assert [record.action for record in records[-2:]] == ["verdict", "approval"]
    assert (records[-1].verdict, records[-1].reasons[0]) == ("HOLD", f"no answer by {asked.due}")
    assert tags()[1][0] == f"no answer by {asked.due}"


def test_an_answer_that_was_given_in_time_counts_although_it_arrives_late(workspace: Workspace) -> None:
    ask(workspace, seconds=-60)
    promotion.history(workspace, MODEL)
    assert answer_approval(workspace, MODEL, 2, answer("approve", later_seconds=-120)).verdict == "PROMOTE"


def test_an_approval_of_a_comparison_with_a_former_champion_holds(workspace: Workspace) -> None:
    ask(workspace)
    promote(workspace, MODEL, 3, "a test")
    record = answer_approval(workspace, MODEL, 2, answer("approve"))
    assert (record.verdict, record.champion_after) == ("HOLD", 3)
    assert "approved by Ada: I looked, but the champion is version 3 by now, not version 1 as compared" in record.why


def test_an_alias_moved_by_hand_meanwhile_holds_too(workspace: Workspace) -> None:
    ask(workspace)
    move_by_hand(3)
    assert answer_approval(workspace, MODEL, 2, answer("approve")).verdict == "HOLD"
    assert state_of(workspace).champion == 3


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_an_answer_without_a_reason_is_refused_and_can_be_given_again(workspace: Workspace, reason: str) -> None:
    ask(workspace)
    with pytest.raises(SettingsError, match=r"the reason .*, expected 1 to 500 printable characters"):
        answer_approval(workspace, MODEL, 2, answer("approve", reason=reason))
    assert answer_approval(workspace, MODEL, 2, answer("approve")).verdict == "PROMOTE"


def test_the_policy_says_whether_a_person_must_approve() -> None:
    assert required_approval(Policy()) is None
    assert required_approval(Policy(approval_within_hours=1.5)) == Approval(5400.0)
