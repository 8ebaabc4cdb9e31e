"""After step 1, target_domain: rows of where the model will work, whose labels nobody needs to know."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.data.media_files import look_at
from graftline.data.row_names import normalised
from graftline.data.splitting import TWIN, Split
from graftline.data.twins import SHARED, straddling_rows
from graftline.digests import file_sha256, json_sha256
from graftline.errors import DataRefusedError
from graftline.files import write_atomically, write_json
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, ValidatedData, raw_inputs, read_split
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.progress import waiting
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.other_rows import other_rows
from graftline.tasks.steps.validate_data import CHECKING_LIBRARIES, TWINS, validated
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.data.near_duplicates import Twin
    from graftline.models.preprocessing import Raw

STEP, NAME = "target_domain", "data.target_domain"
LIBRARIES = ("pyarrow", "numpy")
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

    def inputs(self, workspace: Workspace) -> "list[Raw]":
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
def target_domain(workspace: Workspace, settings: DataSettings, data: ValidatedData) -> TargetDomain | None:
    """Validate the rows of the target domain and keep out what nearly is a held-out row; None if none are named.

    Where a column of the data divides the domains, the split does too: those on its test side are not learned from.
    Raises: SettingsError if their path leaves the project folder; DataRefusedError if they are not fit.
    """
    if settings.target_domain is None:
        return None
    rows = _validated(workspace, settings, data)
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "rows": rows.folder.key,
            "data": data.folder.key,
            "near_duplicates": [settings.near_duplicate_similarity, settings.near_duplicate_bits],
        },
        code=(__name__,),
        libraries=(*LIBRARIES, *CHECKING_LIBRARIES[settings.kind]),
        build=lambda folder: _build(folder, workspace, settings, data, rows),
    )
    counts = cast("dict[str, int]", folder.read_json(SUMMARY))
    sha256 = json_sha256([file_sha256(folder.path / ACCEPTED), rows.kind, rows.sample_bits])
    sides = {"train": counts["learned"], "validation": 0, "test": counts["held_out"]}
    found = TargetDomain(
        replace(rows, folder=folder, split_rows=sides, twins=counts["kept_out"], sha256=sha256),
        rows.folder,
        counts["learned"],
        counts["kept_out"],
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
    plain: dict[str, object] = {"task": "single_label", "labels": [], "label_aliases": {}, "id": None, "slices": []}
    if settings.target_domain_column:
        # Twins of its own held-out rows may be as many as they are: who judges by these looks at that.
        unlabelled = settings.model_copy(update={**plain, "max_twins": 1.0})
        try:
            return validated(workspace, unlabelled, data.data, domain="target", labelled=False)
        except DataRefusedError as error:
            raise DataRefusedError(f"{NAME}: {error.sentence}", error.causes) from None
    own = {"path": settings.target_domain, "target_domain": None, "group": None, "allow_modified": False}
    # All on one side: nobody scores them.
    unlabelled = settings.model_copy(update={**plain, **own, "test_share": 0.0, "validation_share": 0.0})
    columns = {"call it there as data.input does": unlabelled.input}
    return other_rows(workspace, unlabelled, columns, name=NAME, labelled=False)


@waiting("comparing the target domain with the held-out rows")
def _build(
    folder: Path, workspace: Workspace, settings: DataSettings, data: ValidatedData, rows: ValidatedData
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(rows.folder.path / ACCEPTED)
    sides: list[str] = ["test" if side == "test" else "train" for side in table.column("split").to_pylist()]
    free = [place for place, side in enumerate(sides) if side == "train"]
    held = [
        one
        for side in ("validation", "test")
        for one in _compared(workspace, settings, data, read_split(data, side, _columns(data)))
    ]
    own = {name: [table.column(name)[place].as_py() for place in free] for name in _columns(rows)}
    alike = _like(_compared(workspace, settings, rows, own), held, settings)
    for place in alike:
        sides[free[place]] = TWIN
    parquet.write_table(
        table.set_column(table.schema.get_field_index("split"), "split", pa.array(sides, pa.string())),
        folder / ACCEPTED,
    )
    shared = SHARED[settings.kind]
    lines = [
        {"line": table.column("line")[free[place]].as_py(), "similarity": twin.similarity, "shared": shared}
        for place, twin in sorted(alike.items())
    ]
    write_atomically(folder / TWINS, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    counts: dict[str, JsonValue] = {"learned": sides.count("train"), "kept_out": len(alike)}
    write_json(folder / SUMMARY, {**counts, "held_out": sides.count("test")})


# By what a row is compared: its content, and its hash if it is an image.
Compared = tuple[str, int]


def _columns(rows: ValidatedData) -> list[str]:
    return ["input"] if rows.kind == "text" else ["input", "input_sha256"]


def _compared(
    workspace: Workspace, settings: DataSettings, rows: ValidatedData, values: dict[str, list[str]]
) -> list[Compared]:
    if rows.kind == "text":
        return [(normalised(text), 0) for text in values["input"]]
    if rows.kind == "audio":
        return [(sha256, 0) for sha256 in values["input_sha256"]]
    from graftline.data.images import ImageFacts

    data, cache = workspace.root / rows.data.folder, objects_folder(workspace.root)
    seen = [look_at(data, name, settings, cache=cache, sample_bits=rows.sample_bits).facts for name in values["input"]]
    hashes = [one.perceptual_hash if isinstance(one, ImageFacts) else 0 for one in seen]
    return list(zip(values["input_sha256"], hashes, strict=True))


def _like(rows: Sequence[Compared], held: Sequence[Compared], settings: DataSettings) -> "dict[int, Twin]":
    """Which of the rows equal, or nearly equal, a held-out one, by place."""
    both = [*held, *rows]
    # As if the held-out rows were learned from: then these are their twins.
    sides = [*list[Split](["train"]) * len(held), *list[Split](["test"]) * len(rows)]
    found = straddling_rows([one[0] for one in both], [one[1] for one in both], sides, settings)
    return {place - len(held): twin for place, twin in found.items()}
