"""Whether a person must approve a promotion, and until when."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from graftline.verdict.policy import Policy


@dataclass(frozen=True)
class Approval:
    """A person must approve before a better model becomes champion."""

    within_seconds: float
    """How long after the verdict; without an answer by then it is HOLD."""

    def due(self) -> str:
        """UTC, ISO 8601."""
        until = datetime.now(UTC) + timedelta(seconds=self.within_seconds)
        return until.isoformat(timespec="seconds")


def required_approval(policy: Policy) -> Approval | None:
    """The approval that the policy asks for, None where a good verdict is enough."""
    hours = policy.approval_within_hours
    return None if hours is None else Approval(hours * 3600)
