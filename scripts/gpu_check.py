"""One command for a machine with a GPU: is our engine right on it, and how fast is it beside Trainer at its best?

    python -m scripts.gpu_check                                     # about 8 minutes: docs/measurements/gpu.md
    python -m scripts.gpu_check --small --device cpu --output PAGE  # that it comes to its end, on any machine

It ends with 1 if anything is wrong, and never because of a speed. What the time does not suffice for is not measured,
and the page says so.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import transformers

from benchmarks.gpu.checks import Check, checks, tests_on_the_gpu
from benchmarks.gpu.page import Line, page
from benchmarks.gpu.shapes import SHAPES, SMALL, Shape
from benchmarks.gpu.sides import EPOCHS, STRATEGIES, Device, Work, rates
from benchmarks.problems.problem import Task
from benchmarks.sides.turns import Bench, fastest
from benchmarks.speed.arithmetic import useful_gflops
from benchmarks.speed.machine import describe, products
from graftline.compute.precision import Precision, fastest_precision
from graftline.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "measurements" / "gpu.md"
MINUTES, REPEATS = 8.0, 3
# That one kind of work of one base model may take: none begins that could end too late.
LONGEST_SECONDS = 90.0
SQUARES, SQUARE_SECONDS = (2048, 4096, 8192), 1.0
SMALL_SQUARES, SMALL_SECONDS = (128,), 0.01
# Forth, and back with twice as much: for the inputs and for the weights. Of a frozen half only the other half learns.
PASSES: dict[Work, float] = {"features": 1.0, "half frozen": 0.5 / EPOCHS + 1.5, "all of it": 3.0}


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parser().parse_args(arguments)
    device: Device = chosen.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "gpu_check: PyTorch finds no GPU that it can use; install a driver and a build of PyTorch for it, or try"
            " --small --device cpu"
        )
    ends = time.monotonic() + 60 * chosen.minutes - LONGEST_SECONDS
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    precision = fastest_precision(device)
    found: list[Check] = []
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(1 if chosen.small else REPEATS, precision, Path(scratch), SQUARE_SECONDS, _say)
        if device == "cuda":
            found.append(tests_on_the_gpu(ROOT))
        peak = peak_gflops(precision, device, small=chosen.small)
        for shape in SMALL if chosen.small else SHAPES:
            task = shape.task(Path(scratch) / shape.name)
            late = time.monotonic() > ends
            for check in () if late else checks(shape.name, task, device, precision):
                found.append(check)
                _say(f"{check.what}: {check.found}: {'right' if check.right else 'WRONG'}")
            if late:
                found.append(Check(shape.name, "not checked: no time was left", right=True))
            measure = partial(lines_of, bench, shape, task, device, compiled=not chosen.small)
            lines += measure(lambda: time.monotonic() > ends)
    name = torch.cuda.get_device_name() if device == "cuda" else "none: all of this is the processor's"
    text = page({"GPU": name, **describe(torch.get_num_threads())}, found, lines, peak)
    write_atomically(chosen.output, text)
    print(text)
    raise SystemExit(0 if all(check.right for check in found) else 1)


def lines_of(
    bench: Bench, shape: Shape, task: Task, device: Device, late: Callable[[], bool], *, compiled: bool
) -> Iterator[Line]:
    """A line for each kind of work; where it is late, without figures."""
    gflop = sum(useful_gflops(task)) / len(task.train.targets)
    for work in STRATEGIES:
        if late():
            yield Line(shape.name, work, {}, 0.0)
            continue
        _say(f"{shape.name}, {work}")
        # Compiling takes a minute or two, and pays in long trainings of all blocks if it does at all.
        sides = rates(bench, task, work, device, compiled=compiled and work == "all of it")
        yield Line(shape.name, work, sides, gflop * PASSES[work])


def peak_gflops(precision: Precision, device: Device, *, small: bool) -> float:
    """What square products of the best size reach."""
    seconds = SMALL_SECONDS if small else SQUARE_SECONDS

    def rate(size: int) -> float:
        outcome = products([(size, size, size)], precision, seconds, device=device)
        return outcome.work / outcome.seconds

    return rate(fastest(SMALL_SQUARES if small else SQUARES, lambda size: 1 / rate(size)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what computes (default: the GPU)")
    parser.add_argument("--small", action="store_true", help="tiny models and few rows: its figures say nothing")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="about how long it may take (default: 8)")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
