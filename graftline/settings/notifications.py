"""Who is told what: the names of Prefect's notification blocks. Read from `mlflow/notifications.yaml`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from graftline.settings.reading import read_section
from graftline.settings.sections import Section

NOTIFICATIONS = "mlflow/notifications.yaml"
Occasion = Literal["verdict", "waiting_approval", "failure", "alarm", "champion_moved"]
Block = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
Blocks = tuple[Block, ...]


class Notifications(Section):
    """Block documents by Prefect's names, TYPE/NAME, such as slack-webhook/team. Addresses and secrets are theirs."""

    verdict: Blocks = ()
    """Who is told each verdict of a run."""
    waiting_approval: Blocks = ()
    """Who is told that a candidate waits for a person's word."""
    failure: Blocks = ()
    """Who is told that a run failed or its process died."""
    alarm: Blocks = ()
    """Who is told the alarms of `graftline watch`."""
    champion_moved: Blocks = ()
    """Who is told by `graftline attend` that a champion was moved past the gate."""

    def of(self, occasion: Occasion) -> Blocks:
        """The blocks for an occasion."""
        blocks: Blocks = getattr(self, occasion)
        return blocks


def read_notifications(path: Path) -> Notifications:
    """What the file says; without the file nobody is told.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return read_section(path, Notifications, such_as="verdict", verb="notifications")
