"""Progress in Prefect's page, where there is one: library code and bare tests do without."""

from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext


class ProgressBar:
    """A progress artifact of the running task, made at its first use."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._artifact: UUID | None = None

    def show(self, share: float) -> None:
        """Move the bar to `share`, 0 to 1."""
        if not in_prefect():
            return
        if self._artifact is None:
            self._artifact = create_progress_artifact(progress=0.0, key=self._key, description=self._description)  # type: ignore[assignment]
        update_progress_artifact(artifact_id=self._artifact, progress=100 * share)  # type: ignore[arg-type]


def in_prefect() -> bool:
    """Whether a flow or task run is going on that artifacts can belong to."""
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None
