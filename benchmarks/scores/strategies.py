"""Every strategy with real weights, end to end, and the same architecture from scratch: how good each is, at what cost.

Usage: python -m benchmarks.scores.strategies [--only reviews|digits] [--strategies NAME ...] [--rows N] [--threads N]

Each line of the tables is one `adapt`. It is kept in a JSON file beside the page as soon as it is there, and the
projects lie in a folder until all their lines are: a killed run goes on where it stopped.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftline.flows.cli import TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF)

import torch
from torch import nn

from benchmarks.scores.kept_page import KeptPage, page_options, prefect_server, use_threads, with_range
from benchmarks.scores.projects import Adapted, adapt_in, kept_project
from benchmarks.scores.real_projects import EPOCHS, PROJECTS, SCRATCH, SEED, Project
from graftline.errors import BaseModelRefusedError, DataRefusedError, GraftlineError
from graftline.frozen.freezing import freeze
from graftline.frozen.proof import PROOF_ROWS
from graftline.frozen.rows import InputRows
from graftline.models.blocks import find_blocks
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.lora import add_lora
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.settings import parse_settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import raw_inputs
from graftline.training.strategy_table import markdown_rows

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "strategies.md"
FOLDER = Path("artifacts") / "strategies"
HEAD_OF_PAGE = f"""# Strategies with real weights
Under a project's name each line is one `adapt`, from validation to a verdict, with {EPOCHS} epochs and seed {SEED} for
all. Rates are what the literature uses; none was chosen by a look at results. *From scratch* is the same architecture
as its library makes it anew, with random weights, as a `path:` base model of which everything is trained, with warm-up
and a rate that suits random weights. Accuracy has its 95 % interval over the held-out rows (bootstrap). What lora adds
counts as parameters; gradual_unfreezing trains all of them in its last stage. Seconds are those of the step
`fine_tune`, the frozen part's run included where it was not kept from the lines above, and of a killed run only those
since it went on; the machine was shared with other work, and runs were halted for it, so they say little more than
orders of magnitude. Made by `python -m benchmarks.scores.strategies`.
"""
WAYS = """
## How they differ
The code runs by this table (`FREEZES` in `graftline/frozen/freezing.py`, `METHODS` in
`graftline/training/strategies.py`). Where `freeze_until` is set, all that runs before the block that it names is frozen
as well, and runs once per row. A head of two layers (`head: mlp`) always begins as a random one.

"""
SPLITS = {"train": "to learn from", "validation": "to choose by", "test": "held out"}
COLUMNS = (
    "strategy",
    "held-out accuracy (95 % interval)",
    "log loss",
    "parameters trained",
    "rates: backbone, head",
    "seconds of training",
)


@dataclass(frozen=True)
class Line:
    """One line of a table; `asked` is all that it depends on."""

    asked: Mapping[str, Any]
    refused: str | None = None
    """The tool's words, if it refused."""
    accuracy: float = 0.0
    low: float = 0.0
    high: float = 0.0
    log_loss: float = 0.0
    trained: int = 0
    """Parameters that are trained, of `parameters`."""
    parameters: int = 1
    seconds: float = 0.0
    split_rows: Mapping[str, int] | None = None


Lines = dict[str, dict[str, Line]]
"""By project and strategy."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(chosen.threads)
    kept = KeptPage(chosen.output, Lines)
    lines = kept.read({})
    kept.write(page(lines))  # with the ways of the strategies as they are now
    with prefect_server():
        for project in PROJECTS.values():
            if chosen.only not in (None, project.name):
                continue
            for strategy, line in _missing_lines(project, lines.setdefault(project.name, {}), chosen):
                lines[project.name][strategy] = line
                said = line.refused or f"{line.accuracy:.4f}, {line.seconds:.0f} s"
                kept.keep(lines, f"{project.name}, {strategy}: {said}")
                kept.write(page(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--only", choices=list(PROJECTS))
    parser.add_argument("--strategies", nargs="+", choices=list(PROJECTS["reviews"].strategies), metavar="NAME")
    parser.add_argument("--rows", type=int, help="rows in all, held-out ones included")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the projects lie meanwhile")
    return parser


def _missing_lines(
    project: Project, known: Mapping[str, Line], chosen: argparse.Namespace
) -> Iterator[tuple[str, Line]]:
    """The chosen lines of a table that are not known, or were with other settings."""
    rows = chosen.rows or project.rows
    root = (chosen.folder / f"{project.name}-{rows or 'all'}").absolute()
    for strategy in project.strategies:
        tree = project.settings_of(strategy, threads=chosen.threads)
        asked = {"rows": rows, "base_model": tree["base_model"], "adaptation": tree["adaptation"]}
        is_known = strategy in known and known[strategy].asked == asked and known[strategy].refused is None
        if is_known or strategy not in (chosen.strategies or project.strategies):
            continue
        kept_project(root, lambda folder: project.write(folder, rows))
        try:
            line = _line(adapt_in(root, tree), tree, asked)
        except (DataRefusedError, BaseModelRefusedError):
            raise  # which says nothing of the strategy
        except GraftlineError as error:
            line = Line(asked, refused=str(error))
        yield strategy, line
    shutil.rmtree(root, ignore_errors=True)


def _line(adapted: Adapted, tree: Mapping[str, Any], asked: Mapping[str, Any]) -> Line:
    settings = parse_settings(dict(tree), source="strategies").adaptation
    scores = adapted.result["scores"]
    trained, parameters = _counts(adapted, settings)
    return Line(
        asked,
        None,
        scores["accuracy"]["value"],
        scores["accuracy"]["low"],
        scores["accuracy"]["high"],
        scores["log_loss"]["value"],
        trained,
        parameters,
        adapted.checkpoint.seconds,
        adapted.data.split_rows,
    )


def _counts(adapted: Adapted, settings: AdaptationSettings) -> tuple[int, int]:
    data, base = adapted.data, adapted.base
    reading = Reading(data.kind, settings.max_tokens, settings.max_seconds)
    model = load_base(base.path, Outputs(data.task, data.labels), reading=reading, seed=settings.seed)
    preprocessor = load_preprocessor(base.path, reading)
    few = preprocessor.encode(raw_inputs(adapted.workspace, data, "train")[:PROOF_ROWS])
    rows = InputRows(preprocessor, few, torch.zeros(len(few), dtype=torch.int64))
    return parameters_trained(model, settings, rows.batch(range(len(few))))


def parameters_trained(
    model: nn.Module, settings: AdaptationSettings, example: Mapping[str, torch.Tensor]
) -> tuple[int, int]:
    """How many parameters of `model` the strategy trains in the end, and how many there are then.

    The model is left frozen, and with adapters where the strategy has them.
    """
    if settings.strategy == "lora":
        add_lora(
            model,
            find_blocks(model),
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            targets=settings.lora_targets,
        )
    freeze(model, settings.named_strategy, settings.freeze_until, example=example)
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, learns in counts if learns), sum(count for count, _ in counts)


def page(lines: Lines) -> str:
    """The page, with the table that the code runs by and one for each project that has lines."""
    ways = WAYS + "".join(f"{row}\n" for row in markdown_rows())
    sections = (_section(project, lines[name]) for name, project in PROJECTS.items() if lines.get(name))
    return HEAD_OF_PAGE + ways + "".join(sections)


def _section(project: Project, lines: Mapping[str, Line]) -> str:
    counts = next((line.split_rows for line in lines.values() if line.split_rows), {})
    sizes = ", ".join(f"{counts[split]:,} {called}" for split, called in SPLITS.items() if split in counts)
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    rows += [_cells(name, lines[name]) for name in project.strategies if name in lines]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"\n## {project.name.capitalize()}\n{project.what}. Rows: {sizes or 'none'}.\n\n{table}\n"


def _cells(name: str, line: Line) -> tuple[str, ...]:
    if line.refused is not None:
        return (name, f"refused: {line.refused.replace('|', '/')}", *([""] * (len(COLUMNS) - 2)))
    settings = AdaptationSettings(**line.asked["adaptation"])
    solved = settings.strategy == "feature_extraction" and settings.head == "linear"
    return (
        f"*{name}*" if name == SCRATCH else name,
        with_range(line.accuracy, line.low, line.high),
        f"{line.log_loss:.3f}",
        f"{100 * line.trained / line.parameters:.3g} % of {line.parameters / 1e6:.1f} million",
        "head solved" if solved else f"{settings.learning_rate:g}, {settings.head_learning_rate:g}",
        f"{line.seconds:,.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
