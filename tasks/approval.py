"""Whether a person must approve a promotion, and until when."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import yaml

from graftline.errors import SettingsError
from tasks.artifacts import Workspace

POLICY = "promotion.yaml"
WITHIN_HOURS = "approval_within_hours"


@dataclass(frozen=True)
class Approval:
    """A person must approve before a better model becomes champion."""

    within_seconds: float
    """How long after the verdict; without an answer by then it is HOLD."""

    def due(self) -> str:
        """UTC, ISO 8601."""
        until = datetime.now(UTC) + timedelta(seconds=self.within_seconds)
        return until.isoformat(timespec="seconds")


def required_approval(workspace: Workspace) -> Approval | None:
    """What the promotion policy asks for, None where a good verdict is enough.

    The one place where the policy's value goes in. Raises: SettingsError.
    """
    path = workspace.root / "mlflow" / POLICY
    if not path.is_file():
        return None
    try:
        hours = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(WITHIN_HOURS)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
        raise SettingsError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    if hours is None:
        return None
    if isinstance(hours, bool) or not isinstance(hours, (int, float)) or not hours > 0:
        raise SettingsError(f"{path}: {WITHIN_HOURS}: {hours!r}, expected a number of hours above 0, or null")
    return Approval(hours * 3600)
