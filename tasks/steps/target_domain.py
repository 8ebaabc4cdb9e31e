"""After step 1, target_domain: rows of where the model will work, whose labels nobody needs to know."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from graftline.data.splitting import TWIN, Side
from graftline.digests import file_sha256, json_sha256
from graftline.errors import DataRefusedError
from graftline.files import write_json
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, ValidatedData, raw_inputs
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.apart import LIBRARIES, Others, keep_apart
from graftline.tasks.steps.other_rows import other_rows
from graftline.tasks.steps.validate_data import CHECKING_LIBRARIES, validated
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.models.preprocessing import Raw

STEP, NAME = "target_domain", "data.target_domain"
SUMMARY = "summary.json"

logger = logging.getLogger("graftline.target_domain")


@dataclass(frozen=True)
class TargetDomain:
    """The unlabelled rows of the target domain."""

    rows: ValidatedData
    """As they were validated; those that may be learned from are on the side `train`."""
    validated: StepFolder
    """Where all that was found of them stands."""
    learned: int
    """How many these are."""
    kept_out: int
    """Accepted rows that nearly are a held-out row."""

    def inputs(self, workspace: Workspace) -> "Sequence[Raw]":
        """The rows that may be learned from, for a preprocessor, in file order."""
        return raw_inputs(workspace, self.rows, "train")

    @property
    def said(self) -> str:
        """The rows, counted in words."""
        rows = self.rows
        counts = [f"{rows.read:,} read", f"{rows.accepted:,} accepted", f"{rows.quarantined:,} quarantined"]
        counts += [f"{held_out:,} held out"] if (held_out := rows.split_rows["test"]) else []
        counts += [f"{self.kept_out:,} kept out as near duplicates of held-out rows"] if self.kept_out else []
        return ", ".join([*counts, f"{self.learned:,} to learn from without labels"])


@step("target_domain")
def target_domain(
    workspace: Workspace, settings: DataSettings, data: ValidatedData, scored: ValidatedData | None = None
) -> TargetDomain | None:
    """Validate the rows of the target domain and keep out what nearly is a held-out row; None if none are named.

    Held-out rows are those of the data, and those of the target domain that are `scored`.
    Where a column of the data divides the domains, the split does too: those on its test side are not learned from.
    Raises: SettingsError if their path leaves the project folder; DataRefusedError if they are not fit.
    """
    if settings.target_domain is None:
        return None
    rows = _validated(workspace, settings, data)
    others: list[tuple[ValidatedData, Sequence[Side]]] = [(data, ("validation", "test"))]
    if scored:
        others.append((scored, ("test",)))
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "rows": rows.folder.key,
            "others": [other.folder.key for other, _ in others],
            "near_duplicates": [settings.near_duplicate_similarity, settings.near_duplicate_bits],
        },
        code=(__name__,),
        libraries=(*LIBRARIES, *CHECKING_LIBRARIES[settings.kind]),
        build=lambda folder: _build(folder, workspace, settings, rows, others),
    )
    sides = cast("dict[str, int]", folder.read_json(SUMMARY))
    sha256 = json_sha256([file_sha256(folder.path / ACCEPTED), rows.kind, rows.sample_bits])
    found = TargetDomain(
        replace(rows, folder=folder, split_rows=sides, twins=sides[TWIN], sha256=sha256),
        rows.folder,
        sides["train"],
        sides[TWIN],
    )
    if not found.learned:
        raise DataRefusedError(
            f"{NAME}: {settings.target_domain!r} leaves no row to learn from ({found.said}), expected rows that are"
            " none of those held out; add some"
        )
    logger.info("%s: %s (%s)", STEP, found.said, folder.outcome)
    return found


def _validated(workspace: Workspace, settings: DataSettings, data: ValidatedData) -> ValidatedData:
    """All that is asked of targets is not asked of these rows."""
    plain: dict[str, object] = {"task": "single_label", "labels": [], "label_aliases": {}, "targets": []}
    plain |= {"id": None, "slices": []}
    if settings.target_domain_column:
        # Twins of its own held-out rows may be as many as they are: who judges by these looks at that.
        unlabelled = settings.model_copy(update={**plain, "max_twins": 1.0})
        try:
            return validated(workspace, unlabelled, data.data, domain="target", role="unlabelled")
        except DataRefusedError as error:
            raise DataRefusedError(f"{NAME}: {error.sentence}", error.causes) from None
    own = {"path": settings.target_domain, "target_domain": None, "group": None, "allow_modified": False}
    # All on one side: nobody scores them.
    unlabelled = settings.model_copy(update={**plain, **own, "test_share": 0.0, "validation_share": 0.0})
    columns = {"call it there as data.input does": unlabelled.input}
    return other_rows(workspace, unlabelled, columns, name=NAME, role="unlabelled")


def _build(folder: Path, workspace: Workspace, settings: DataSettings, rows: ValidatedData, others: Others) -> None:
    # Twins among its own rows may be learned from: they are on no held-out side.
    sides = keep_apart(folder, workspace, settings, rows, others, chosen=lambda was: was != "test", side="train")
    write_json(folder / SUMMARY, {str(side): count for side, count in sides.items()})
