"""Every family with every strategy, end to end: `adapt` on generated rows and models with random weights.

It shows that each combination runs, not how well it does: random weights know nothing. Writes `docs/families.md`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

from benchmarks.projects import start_project, working_in
from graftline.errors import GraftlineError
from graftline.settings import parse_settings
from tests.media_folders import write_tiny_images, write_tiny_sounds
from tests.tiny_media import MEDIA_ARCHITECTURES, MediaArchitecture, kind_of, write_tiny_media_model
from tests.tiny_models import ARCHITECTURES, write_tiny_model
from tests.tiny_project import write_rows

STRATEGIES: dict[str, dict[str, Any]] = {
    "feature_extraction": {},
    "partial": {"freeze_until": "0.5"},
    "fine_tuning": {"layer_decay": 0.8, "schedule": "cosine"},
    "probe_then_fine_tune": {},
    "gradual_unfreezing": {"epochs": 3},
    "lora": {"lora_rank": 2},
    "bias_only": {},
    "norm_only": {},
}
ROWS = 80
PAGE = Path(__file__).parent.parent / "docs" / "families.md"
HEAD = """# Families and strategies
Each cell is one `adapt`, from validation to a verdict, on {rows} generated rows with a model of random weights and one
thread; the number is its held-out accuracy, on about a dozen rows, which says that it ran and nothing more. Made by
`python -m benchmarks.families` in {minutes:.0f} minutes.

| family | {strategies} |
|---|{rules} |
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a part of a family's name")
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    chosen = [name for name in (*ARCHITECTURES, *MEDIA_ARCHITECTURES) if (options.only or "") in name]
    from prefect.testing.utilities import prefect_test_harness

    began, rows, failed = time.monotonic(), [], 0
    with prefect_test_harness(server_startup_timeout=180):
        for name in chosen:
            cells = list(_cells(name))
            failed += sum(not cell[0].isdigit() for cell in cells)
            rows.append(f"| {name} | {' | '.join(cells)} |")
    head = HEAD.format(
        rows=ROWS, minutes=(time.monotonic() - began) / 60, strategies=" | ".join(STRATEGIES),
        rules="---|" * (len(STRATEGIES) - 1) + "---",
    )  # fmt: skip
    options.output.write_text(head + "\n".join(rows) + "\n")
    return 1 if failed else 0


def _cells(name: str) -> Iterator[str]:
    """What came of each strategy with this family: its accuracy, or its refusal."""
    from flows.adapt import adapt

    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        settings = _write_project(Path(scratch), name)
        for strategy, more in STRATEGIES.items():
            settings["adaptation"] = {**_adaptation(), "strategy": strategy, **more}
            began = time.monotonic()
            try:
                result: Any = adapt(parse_settings(settings, source=name))
                cell = f"{result['scores']['accuracy']['value']:.2f}"
            except GraftlineError as error:
                cell = f"refused: {error}"
            print(f"{name}, {strategy}: {cell} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
            yield cell


def _adaptation() -> dict[str, Any]:
    return {"epochs": 2, "learning_rate": 1e-3, "head_learning_rate": 1e-2, "batch_size": 16, "threads": 1}


def _write_project(root: Path, name: str) -> dict[str, Any]:
    data: dict[str, Any] = {"min_rows_per_class": 2, "test_share": 0.25, "max_quarantined": 0.5}
    if name in ARCHITECTURES:
        write_rows(root, ROWS)
        write_tiny_model(root / "base", name)
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
