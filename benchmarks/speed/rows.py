"""Seconds and resident memory of validating, splitting and writing 10,000, 100,000 and a million short texts.

Usage: python -m benchmarks.speed.rows [--rows N ...] [--output PAGE]      a million needs 700 MB of disk

Each size is looked at in a fresh process, and once more in another, which finds it finished. The texts are made up: 5
to 20 words of 20,000, the frequent ones as frequent as in a language; every hundredth is the one before with a word
exchanged, and every fifth ends as if made from a template. Beside them the near duplicates among 100,000 pictures'
hashes. The tables are written into the page; what stands around them there was written by hand.
"""

import csv
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.scores.kept_page import page_options, use_threads, write_between
from graftline.settings import DataSettings

SIZES = (10_000, 100_000, 1_000_000)
PICTURES = 100_000
PAGE = Path("docs/measurements/rows.md")
SEED = 7
WORDS, LETTERS = 20_000, ("bcdfghjklmnprstvz", "aeiou")
LABELS = ("bad", "good", "so")


@dataclass(frozen=True)
class Seen:
    """What a process took: the wall's seconds, the processor's, and the most resident memory, all of it counted."""

    seconds: float
    processor_seconds: float
    peak_mb: float
    found: int
    """Rows that nearly are one to learn from."""


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES, help="how many (of ten million: 6 GB of disk)")
    chosen = parser.parse_args()
    use_threads(1)
    lines = [
        "| rows | seconds | of the processor | peak MB | twins | again: seconds |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rows in chosen.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_texts(Path(folder) / "data" / "table.csv", rows)
            first, again = (in_fresh_process(validate, Path(folder)) for _ in range(2))
        lines.append(f"| {rows:,} {_row(first)} | {again.seconds:.1f} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "| pictures' hashes | seconds | of the processor | peak MB | twins |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, make in {"each its own": varied, "of one camera": alike}.items():
        lines.append(f"| {PICTURES:,}, {name} {_row(in_fresh_process(compare, make))} |")
        print(lines[-1], flush=True)
    write_between(chosen.output, "benchmarks.speed.rows", "\n".join(lines))


def _row(seen: Seen) -> str:
    return f"| {seen.seconds:.1f} | {seen.processor_seconds:.1f} | {seen.peak_mb:,.0f} | {seen.found:,}"


def write_texts(path: Path, rows: int) -> None:
    """A table of as many texts, the same ones each time."""
    source = random.Random(SEED)  # noqa: S311
    words = [
        "".join(source.choice(LETTERS[place % 2]) for place in range(source.randrange(3, 11))) for _ in range(WORDS)
    ]
    frequent = list(accumulate(1 / (place + 1) for place in range(WORDS)))
    path.parent.mkdir(parents=True)
    before = ["nothing"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "text", "label", "source"])
        for row in range(rows):
            if source.random() < 0.01:
                text = [*before]
                text[source.randrange(len(text))] = "xq"
            else:
                text = source.choices(words, cum_weights=frequent, k=source.randrange(5, 21))
            before = text
            end = f" (number {row})" if row % 5 == 0 else ""
            table.writerow([f"r{row}", " ".join(text) + end, LABELS[row % 3], f"s{row % 4}"])


def validate(root: Path) -> Seen:
    """Validate the table as a run does, Great Expectations' import included; Prefect and torch are there before."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    from graftline.digests import file_sha256
    from graftline.tasks.data.files import DataVersion
    from graftline.tasks.steps.validate_data import validate_data
    from graftline.tasks.workspace import Workspace

    settings = DataSettings(path="data/table.csv", id="id", slices=["source"])
    table = root / settings.path
    began, computed = time.perf_counter(), time.process_time()
    version = DataVersion("v" * 32, False, (), file_sha256(table), table)
    data = validate_data.fn(Workspace(root), settings, version)
    return Seen(time.perf_counter() - began, time.process_time() - computed, _peak_mb(), data.twins)


def varied() -> Iterator[int]:
    """Hashes without a pattern, each beside one that differs in up to 24 bits."""
    source = random.Random(SEED)  # noqa: S311
    for _ in range(PICTURES // 2):
        one = source.getrandbits(256)
        yield one
        yield _flipped(one, source.randrange(25), source)


def alike() -> Iterator[int]:
    """Hashes that all differ from one in up to 11 bits."""
    source = random.Random(SEED)  # noqa: S311
    one = source.getrandbits(256)
    for _ in range(PICTURES):
        yield _flipped(one, source.randrange(12), source)


def _flipped(number: int, bits: int, source: random.Random) -> int:
    for place in source.sample(range(256), bits):
        number ^= 1 << place
    return number


def compare(make: Callable[[], Iterator[int]]) -> Seen:
    """The near duplicates across the split among the hashes of pictures."""
    from graftline.data.near_duplicates import straddling_hashes
    from graftline.data.splitting import split_of

    hashes = list(make())
    splits = [split_of(str(number), test_share=0.15, validation_share=0.15) for number in hashes]
    began, computed = time.perf_counter(), time.process_time()
    found = straddling_hashes(hashes, splits, most_bits=DataSettings(path="data").near_duplicate_bits)
    return Seen(time.perf_counter() - began, time.process_time() - computed, _peak_mb(), len(found))


def in_fresh_process(run: Callable[..., Seen], *arguments: object) -> Seen:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def _peak_mb() -> float:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
