"""Rows that are kept apart from others: what nearly is one of these, and how that is known of every kind of input."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.data.media_files import look_at
from graftline.data.row_names import normalised
from graftline.data.splitting import TWIN, Side, Split
from graftline.data.twins import SHARED, straddling_rows
from graftline.files import write_atomically
from graftline.settings import DataSettings
from graftline.tasks.data.accepted_rows import ACCEPTED, ValidatedData, read_split
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.progress import waiting
from graftline.tasks.steps.validation_files import TWINS
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.data.near_duplicates import Twin

LIBRARIES = ("pyarrow", "numpy")

# Rows and those of their sides that are meant.
Others = Sequence[tuple[ValidatedData, Sequence[Side]]]
# By what a row is compared: its content, and its hash if it is an image.
Compared = tuple[str, int]


@waiting("looking for near duplicates")
def keep_apart(
    folder: Path,
    workspace: Workspace,
    settings: DataSettings,
    rows: ValidatedData,
    others: Others,
    *,
    chosen: Callable[[str], bool],
    side: Side,
) -> dict[Side, int]:
    """Write the accepted rows into `folder`, the `chosen` ones on that side, or as twins if they nearly are another.

    `chosen` tells from the side that a row has had. Returns: how many rows there are on each side.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(rows.folder.path / ACCEPTED)
    before: list[Side] = table.column("split").to_pylist()
    free = [place for place, was in enumerate(before) if chosen(was)]
    sides = [side if chosen(was) else was for was in before]
    own = {name: [table.column(name)[place].as_py() for place in free] for name in _columns(rows)}
    held = [
        one
        for other, of_sides in others
        for each in of_sides
        for one in _compared(workspace, settings, other, read_split(other, each, _columns(other)))
    ]
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
    return {name: sides.count(name) for name in ("train", "validation", "test", TWIN)}


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
