"""Every family with every strategy, end to end: `adapt` on generated rows and models with random weights.

It shows that each combination runs, not how well it does: random weights know nothing. Writes
`docs/measurements/families.md`. Each cell is kept in a JSON file beside it as soon as it is there: a killed run goes on
where it stopped.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

from benchmarks.scores.kept_page import KeptPage, page_options, prefect_server
from benchmarks.scores.projects import start_project, working_in
from graftline.errors import GraftlineError
from graftline.settings import parse_settings
from tests.support.tiny_media import MEDIA_ARCHITECTURES, MediaArchitecture, kind_of, write_tiny_media_model
from tests.support.tiny_media_files import write_tiny_images, write_tiny_sounds
from tests.support.tiny_models import ARCHITECTURES, write_tiny_model
from tests.support.tiny_project import write_rows

STRATEGIES: dict[str, dict[str, Any]] = {
    "feature_extraction": {},
    "partial": {"freeze_until": "0.5"},
    "fine_tuning": {"layer_decay": 0.8, "schedule": "cosine"},
    "probe_then_fine_tune": {},
    "contrastive": {},
    "gradual_unfreezing": {"epochs": 3},
    "lora": {"lora_rank": 2},
    "bias_only": {},
    "norm_only": {},
}
ROWS = 80
PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "families.md"
HEAD = """# Families and strategies
Each cell is one `adapt`, from validation to a verdict, on {rows} generated rows with a model of random weights and one
thread; the number is its held-out accuracy, on about twenty rows, which says that it ran and nothing more. Made by
`python -m tests.hunts.every_family` in {minutes:.0f} minutes.

| family | {strategies} |
|---|{rules} |
"""


@dataclass(frozen=True)
class Cell:
    """One strategy with one family; `asked` is all that it depends on."""

    asked: Mapping[str, Any]
    said: str
    """Its held-out accuracy, or why it was refused."""
    ran: bool
    seconds: float


Cells = dict[str, dict[str, Cell]]


def main() -> int:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--only", help="a part of a family's name")
    options = parser.parse_args()
    chosen = [name for name in (*ARCHITECTURES, *MEDIA_ARCHITECTURES) if (options.only or "") in name]
    kept = KeptPage(options.output.absolute(), Cells)  # each family works in a folder of its own
    cells = kept.read({})
    with prefect_server():
        for name in chosen:
            for strategy, cell in _missing_cells(name, cells.setdefault(name, {})):
                cells[name][strategy] = cell
                kept.keep(cells, f"{name}, {strategy}: {cell.said} ({cell.seconds:.0f} s)")
    kept.write(page(cells))
    return 0 if all(cells[name][strategy].ran for name in chosen for strategy in STRATEGIES) else 1


def page(cells: Cells) -> str:
    """The page, with a line for each family of which every strategy ran or was refused."""
    head = HEAD.format(
        rows=ROWS, minutes=sum(cell.seconds for row in cells.values() for cell in row.values()) / 60,
        strategies=" | ".join(STRATEGIES), rules="---|" * (len(STRATEGIES) - 1) + "---",
    )  # fmt: skip
    return head + "".join(
        f"| {name} | {' | '.join(cells[name][strategy].said for strategy in STRATEGIES)} |\n"
        for name in (*ARCHITECTURES, *MEDIA_ARCHITECTURES)
        if set(STRATEGIES) <= set(cells.get(name, {}))
    )


def _missing_cells(name: str, known: Mapping[str, Cell]) -> Iterator[tuple[str, Cell]]:
    """The strategies that have not run with this family, or with other settings."""
    from graftline.flows.adapt import adapt

    asked = {
        strategy: {"rows": ROWS, "adaptation": {**_adaptation(), "strategy": strategy, **more}}
        for strategy, more in STRATEGIES.items()
    }
    missing = [one for one in STRATEGIES if one not in known or known[one].asked != asked[one] or not known[one].ran]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        settings = _write_project(Path(scratch), name)
        for strategy in missing:
            settings["adaptation"] = asked[strategy]["adaptation"]
            began = time.monotonic()
            try:
                result: Any = adapt(parse_settings(settings, source=name))
                said, ran = f"{result['scores']['accuracy']['value']:.2f}", True
            except GraftlineError as error:
                said, ran = f"refused: {str(error).replace('|', '/')}", False
            yield strategy, Cell(asked[strategy], said, ran, time.monotonic() - began)


def _adaptation() -> dict[str, Any]:
    return {"epochs": 2, "learning_rate": 1e-3, "head_learning_rate": 1e-2, "batch_size": 16, "threads": 1}


def _write_project(root: Path, name: str) -> dict[str, Any]:
    data: dict[str, Any] = {"min_rows_per_class": 2, "test_share": 0.25, "max_quarantined": 0.5}
    if name in ARCHITECTURES:
        write_rows(root, ROWS)
        write_tiny_model(root / "base", name, max_position_embeddings=256)  # more than the settings let it read
        data |= {"path": "data/rows.csv", "id": "id", "labels": ["bad", "good"]}
    else:
        architecture = cast("MediaArchitecture", name)
        kind = kind_of(architecture)
        write = {"image": write_tiny_images, "audio": write_tiny_sounds}[kind]
        write(root / "data" / "files", ROWS)
        write_tiny_media_model(root / "base", architecture)
        data |= {"path": "data/files", "kind": kind}
    settings = {"data": data, "base_model": {"uri": "path:base"}, "evaluation": {"bootstrap": 100},
                "registry": {"model": "tiny"}}  # fmt: skip
    start_project(root, settings, "path:base")
    return settings


if __name__ == "__main__":
    sys.exit(main())
