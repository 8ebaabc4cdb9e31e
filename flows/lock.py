"""`graftline lock`: pin the bytes of the base model."""

from pathlib import Path

from pydantic import JsonValue

from graftline.base_models.lock import LockedModel
from graftline.flows.console import plain_progress
from graftline.settings import Settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.workspace import Workspace


@plain_progress()
def lock(settings: Settings, root: Path) -> dict[str, JsonValue]:
    """Write the base model, and the teacher, that the settings name into `base_models.lock`, and say what was locked.

    A plain function, not a Prefect flow: it is one step, run by hand and reviewed in git, and starting Prefect's
    temporary server would take longer than the step.
    """
    uri, teacher = settings.base_model.uri, settings.adaptation.teacher
    locked = lock_model(Workspace(root), uri)
    said = f"locked {uri} at {locked.revision}: {described(locked)}"
    if teacher is not None:
        taught_by = lock_model(Workspace(root), teacher)
        said += f"\nlocked {teacher} at {taught_by.revision}: {described(taught_by)}"
    return {
        "uri": uri,
        "revision": locked.revision,
        "licence": locked.licence,
        "base_model_sha256": locked.digest,
        "files": len(locked.files),
        "bytes": locked.bytes,
        **({"teacher": teacher, "teacher_sha256": taught_by.digest} if teacher is not None else {}),
        "summary": said,
    }


def described(locked: LockedModel) -> str:
    """A locked base model in a sentence."""
    return (
        f"{len(locked.files)} files, {locked.bytes / 1e6:.1f} MB, digest {locked.digest[:12]}, licence {locked.licence}"
    )
