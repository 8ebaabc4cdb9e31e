"""What a version is asked once beside its held-out rows: of the task that it comes from, of where it will work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.source_task import SourceTask
from graftline.tasks.steps.target_rows import TargetRows, plain_training
from graftline.tasks.workspace import Workspace
from graftline.transfer.pairs import Pair, as_json

if TYPE_CHECKING:
    from graftline.tasks.steps.tracked_run import RunInputs


@dataclass(frozen=True)
class BesideHeldOut:
    """What the settings name for it; nothing of it by default."""

    source: SourceTask | None = None
    """Of which it is asked what was forgotten."""
    distances: Sequence[Pair] = ()
    """How far the rows are from home, which is known before."""
    target: TargetRows | None = None
    """Labelled rows of the target domain, on which all models are scored, too."""
    plain: Checkpoint | None = None
    """The training that knew nothing of that domain, to be scored among them."""

    @property
    def keys(self) -> dict[str, JsonValue]:
        """What an evaluation depends on by it."""
        plain = self.plain.folder.key if self.plain else None
        return {
            "source_task": self.source.folder.key if self.source else None,
            **({"distances": as_json(self.distances)} if self.distances else {}),
            **({"target_rows": self.target.rows.sha256, "plain": plain} if self.target else {}),
        }


NOTHING_BESIDE = BesideHeldOut()


def beside_held_out(workspace: Workspace, inputs: "RunInputs", distances: Sequence[Pair]) -> BesideHeldOut:
    """Of one run, after its training: where rows judge the way into the target domain, also without that way."""
    rows, domain = inputs.target, inputs.domain
    plain = plain_training(workspace, inputs.settings, inputs.data, inputs.base, rows, domain)
    return BesideHeldOut(inputs.source, distances, rows, plain)
