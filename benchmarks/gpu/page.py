"""The page of what a GPU was measured at."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.gpu.checks import Check
from benchmarks.gpu.sides import BATCH, BEST, COMPILED, EPOCHS, OURS, Work
from benchmarks.sides.turns import Measured, ratios

INTRODUCTION = f"""# What a GPU does

Written by `python -m scripts.gpu_check`, in one go on one machine. Base models have the shapes of real ones and random
weights, texts are about 100 made-up tokens, pictures are 224 x 224; batches of {BATCH}, {EPOCHS} epochs. Figures are
rows a second that are learned from, from raw inputs on (features: rows run through the frozen part, into the store).
Ours validates after each epoch besides. Trainer is as fast as it can be set up here: grouped by length or not, with and
without loaders, and compiled where ours is, too; both sides take turns. *Of the peak* is the arithmetic that the rows
need, without padding, beside square matrix products in the same precision."""


@dataclass(frozen=True)
class Line:
    """One base model and one kind of work."""

    shape: str
    work: Work
    sides: Mapping[str, Measured]
    """None of them where the time had run out."""
    gflop_a_row: float
    """What a row needs, through the backbone and, where it learns, back."""

    @property
    def ours(self) -> Measured:
        """Ours at its best, as Trainer is."""
        compiled = self.sides.get(COMPILED)
        plain = self.sides[OURS]
        return compiled if compiled and statistics.median(compiled.rates) > statistics.median(plain.rates) else plain


def page(machine: Mapping[str, str], found: Sequence[Check], lines: Sequence[Line], peak_gflops: float) -> str:
    """All that was found, in Markdown."""
    parts = [INTRODUCTION, ", ".join(f"{name}: {value}" for name, value in machine.items()) + "."]
    parts += ["## Is it right", _table(("what", "found", ""), [_check(one) for one in found])]
    heading = ("base model", "what learns", "ours", "compiled", "Trainer, best", "times", "of the peak", "Trainer is")
    parts += [
        "## How fast is it",
        f"Square products reach {peak_gflops:,.0f} GFLOP a second.",
        _table(heading, [_line(one, peak_gflops) for one in lines]),
    ]
    return "\n\n".join(parts) + "\n"


def _check(one: Check) -> tuple[str, ...]:
    return one.what, one.found, "right" if one.right else "**WRONG**"


def _line(one: Line, peak_gflops: float) -> tuple[str, ...]:
    if not one.sides:
        return (one.shape, one.work, *["-"] * 5, "no time was left")
    middle, low, high = ratios(one.ours, one.sides[BEST])
    share = statistics.median(one.ours.rates) * one.gflop_a_row / peak_gflops
    return (
        one.shape,
        one.work,
        _rate(one.sides[OURS]),
        _rate(one.sides[COMPILED]) if COMPILED in one.sides else "-",
        _rate(one.sides[BEST]),
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{share:.0%}",
        one.sides[BEST].what,
    )


def _rate(side: Measured) -> str:
    return f"{statistics.median(side.rates):,.0f}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows))
