"""The registered versions in a list: aliases, verdict, main score and date of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from graftline.tasks.registry.versions import DATA_VERSION, VERDICT, WEIGHTS, versions_of
from graftline.tasks.tracking.server import client, connect, has_registry
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PAGE_ROWS = 1000
# The main score of each task, by its name alone: the scores themselves take seconds to import.
MAIN_SCORES: Mapping[str, str] = {"single_label": "accuracy", "multi_label": "macro_f1", "regression": "r2"}


@dataclass(frozen=True)
class RegisteredListed:
    """A version in a line."""

    model: str
    number: int
    aliases: tuple[str, ...]
    verdict: str | None
    score: str | None
    """The name of its main score."""
    value: float | None
    created: str
    """ISO 8601, UTC."""
    weights_sha256: str | None
    data_version: str | None


def registered_models(workspace: Workspace) -> list[RegisteredListed]:
    """Every version of every model, the newest of each model first. Raises: RegistryRefusedError."""
    if not has_registry(workspace):
        return []
    connect(workspace)
    server = client()
    found = []
    for model in server.search_registered_models(max_results=PAGE_ROWS):
        for number, version in sorted(versions_of(model.name).items(), reverse=True):
            named = tuple(alias for alias, at in sorted(model.aliases.items()) if int(at) == number)
            found.append(_listed(number, version, named))
    return found


def _listed(number: int, version: "ModelVersion", aliases: tuple[str, ...]) -> RegisteredListed:
    score, value = _main_score(str(version.run_id))
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    tags = version.tags
    return RegisteredListed(
        version.name,
        number,
        aliases,
        tags.get(VERDICT),
        score,
        value,
        created.isoformat(timespec="seconds"),
        tags.get(WEIGHTS),
        tags.get(DATA_VERSION),
    )


def _main_score(run_id: str) -> tuple[str | None, float | None]:
    """Of the run that made a version: on the rows that were held out then."""
    from mlflow.exceptions import MlflowException

    try:
        run = client().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None, None
    name = MAIN_SCORES.get(run.data.params.get("data.task", ""))
    scores = run.data.metrics  # whose names had another stroke before each model had an experiment of its own
    return name, scores.get(f"test/{name}", scores.get(f"test_{name}"))
