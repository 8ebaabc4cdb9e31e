"""After step 1, target_rows: labelled rows of where the model will work, which judge it there and teach it nothing."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from graftline.data.splitting import TWIN
from graftline.digests import file_sha256, json_sha256
from graftline.errors import DataRefusedError
from graftline.files import write_json
from graftline.settings import DataSettings, Settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ACCEPTED, ValidatedData
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.apart import LIBRARIES, Others, keep_apart
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.mended_rows import mending_of
from graftline.tasks.steps.other_rows import other_rows
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.validate_data import CHECKING_LIBRARIES, validated
from graftline.tasks.workspace import Workspace

STEP, NAME = "target_rows", "evaluation.target_rows"
SUMMARY = "summary.json"

logger = logging.getLogger("graftline.target_rows")


@dataclass(frozen=True)
class TargetRows:
    """The labelled rows of the target domain."""

    rows: ValidatedData
    """As they were validated; those that judge are on the side `test`."""
    validated: StepFolder
    """Where all that was found of them stands."""

    @property
    def scored(self) -> int:
        """How many judge."""
        return self.rows.split_rows["test"]


@step("target_rows")
def target_rows(workspace: Workspace, settings: Settings, data: ValidatedData) -> TargetRows | None:
    """Validate the rows that judge a model in the target domain; None if none are named.

    What nearly is a row of the data that a model learns from, or is chosen by, judges nothing. Where a column of the
    data divides the domains, the rows on the test side judge, as far as they have a target.
    Raises: SettingsError if their path leaves the project folder; DataRefusedError if they are not fit.
    """
    if settings.evaluation.target_rows is None:
        return None
    rows = _validated(workspace, settings, data)
    others: Others = [(data, ("train", "validation"))]
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "rows": rows.folder.key,
            "others": [other.folder.key for other, _ in others],
            "near_duplicates": [settings.data.near_duplicate_similarity, settings.data.near_duplicate_bits],
        },
        code=(__name__,),
        libraries=(*LIBRARIES, *CHECKING_LIBRARIES[data.kind]),
        build=lambda folder: _build(folder, workspace, settings.data, rows, others),
    )
    sides = cast("dict[str, int]", folder.read_json(SUMMARY))
    sha256 = json_sha256([file_sha256(folder.path / ACCEPTED), list(rows.labels), rows.kind, rows.sample_bits])
    found = TargetRows(
        replace(rows, folder=folder, split_rows=sides, twins=sides[TWIN], sha256=sha256, test_sha256=sha256),
        rows.folder,
    )
    if not found.scored:
        raise DataRefusedError(
            f"{NAME}: {settings.evaluation.target_rows!r} leaves no row that judges ({rows.accepted:,} accepted,"
            f" {sides[TWIN]:,} of them near duplicates of rows to learn from); add some with labels"
        )
    logger.info("%s: %d rows judge in the target domain (%s)", STEP, found.scored, folder.outcome)
    return found


def plain_training(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    base: BaseModel,
    rows: TargetRows | None,
    domain: TargetDomain | None,
) -> Checkpoint | None:
    """What the same training comes to without a way into the target domain, where rows judge what that way is worth."""
    if rows is None or settings.adaptation.domain == "none":
        return None
    plain = settings.adaptation.model_copy(update={"domain": "none"})
    costs = settings.evaluation.costs
    return fine_tune.fn(workspace, plain, data, base, mending=mending_of(settings), domain=domain, costs=costs)


def _validated(workspace: Workspace, settings: Settings, data: ValidatedData) -> ValidatedData:
    """With the labels that the data have; few rows are enough."""
    given = settings.data
    few: dict[str, object] = {
        "labels": list(data.labels), "targets": [], "slices": [], "max_twins": 1.0, "allow_modified": False,
    }  # fmt: skip
    try:
        if given.target_domain_column and settings.evaluation.target_rows == given.target_domain:
            return validated(workspace, given.model_copy(update=few), data.data, domain="target", role="scored")
    except DataRefusedError as error:
        raise DataRefusedError(f"{NAME}: {error.sentence}", error.causes) from None
    # All on one side, which judges.
    own = {"path": settings.evaluation.target_rows, "target_domain": None, "test_share": 1.0, "validation_share": 0.0}
    scored = given.model_copy(update={**few, **own})
    columns = {way: column for way, column in _columns(scored).items() if column}
    return other_rows(workspace, scored, columns, name=NAME, role="scored")


def _columns(settings: DataSettings) -> dict[str, str | None]:
    named = {"input": settings.input, "target": settings.target, "id": settings.id, "group": settings.group}
    return {f"call it there as data.{role} does": column for role, column in named.items()}


def _build(folder: Path, workspace: Workspace, settings: DataSettings, rows: ValidatedData, others: Others) -> None:
    sides = keep_apart(folder, workspace, settings, rows, others, chosen=lambda was: was == "test", side="test")
    write_json(folder / SUMMARY, {str(side): count for side, count in sides.items()})
