"""The measurements: as JSON, as the tables in README.md, and as a picture."""

import io
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.sides.turns import Comparison, Measured, Row, ratios, shortfalls
from graftline.files import write_atomically, write_json

RESULTS, PAGE, PICTURE = "results.json", "README.md", "speed.svg"
BEGIN, END = "<!-- results: written by benchmarks/speed -->", "<!-- end of the results -->"
NOT_YET = "not yet measured"
REACHED, MISSED, WITHOUT_TARGET = "#2a7f62", "#b5543a", "#8a8f98"
BAR_INCHES, FRAME_INCHES, WIDTH_INCHES = 0.42, 1.0, 9.0


@dataclass(frozen=True)
class Result:
    """One comparison as it was measured."""

    conditions: Mapping[str, int]
    machine: Mapping[str, str]
    sides: Mapping[str, Measured]


Results = Mapping[str, Result]


def read_results(folder: Path) -> dict[str, Result]:
    """The earlier measurements; none if there is no file."""
    if not (folder / RESULTS).exists():
        return {}
    written = cast("dict[str, Any]", json.loads((folder / RESULTS).read_text(encoding="utf-8")))
    return {
        name: Result(
            result["conditions"],
            result["machine"],
            {side: _measured(own) for side, own in result["sides"].items()},
        )
        for name, result in written.items()
    }


def write_results(folder: Path, comparisons: Sequence[Comparison], results: Results) -> None:
    """The numbers, the tables between the two marks of README.md, and the picture."""
    write_json(folder / RESULTS, {name: cast("Any", asdict(result)) for name, result in results.items()})
    page = folder / PAGE
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    write_atomically(page, f"{before}{BEGIN}\n{tables(comparisons, results)}\n{END}{after}")
    write_atomically(folder / PICTURE, picture(comparisons, results))


def tables(comparisons: Sequence[Comparison], results: Results) -> str:
    """The targets, every side, and the circumstances, in Markdown."""
    lines = [
        "| what | ours | against | target | measured (lowest to highest) | accuracy: ours, theirs | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_target_line(row, sides) for row, sides in _rows(comparisons, results)),
        "",
        "Every side: the median of its repetitions, each with its own seed.",
        "",
        "| comparison | side | set up | median | accuracy, mean (lowest to highest) |",
        "| --- | --- | --- | --- | --- |",
        *(
            _side_line(comparison.name, name, side)
            for comparison in comparisons
            if comparison.name in results
            for name, side in sorted(results[comparison.name].sides.items())
        ),
        "",
        *_circumstances(results),
    ]
    return "\n".join(lines).rstrip()


def picture(comparisons: Sequence[Comparison], results: Results) -> bytes:
    """How many times its target each row reaches, as SVG; the same numbers give the same bytes."""
    measured = [(row, sides[row.ours], sides[row.against]) for row, sides in _rows(comparisons, results) if sides]
    aimed = [(row, ours, against) for row, ours, against in measured if row.target is not None][::-1]
    figure = Figure(figsize=(WIDTH_INCHES, FRAME_INCHES + BAR_INCHES * max(1, len(aimed))), layout="constrained")
    axes = figure.add_subplot()
    for place, (row, ours, against) in enumerate(aimed):
        middle, lowest, highest = (ratio / (row.target or math.nan) for ratio in ratios(ours, against))
        axes.barh(place, middle, color=MISSED if shortfalls(row, ours, against) else REACHED)
        axes.plot([lowest, highest], [place, place], color="black", linewidth=1)
        axes.text(highest * 1.04, place, _quotient(row, ratios(ours, against)[0]), va="center", fontsize=8)
    axes.set_yticks(range(len(aimed)), [f"{row.what}\nagainst {row.against}" for row, *_ in aimed], fontsize=8)
    axes.axvline(1, color=WITHOUT_TARGET, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlabel("measured, as a multiple of the target; the line is the span of the repetitions")
    axes.margins(x=0.15)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "graftline"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _rows(comparisons: Sequence[Comparison], results: Results) -> Iterator[tuple[Row, Mapping[str, Measured]]]:
    for comparison in comparisons:
        result = results.get(comparison.name)
        sides = result.sides if result else {}
        for row in comparison.rows:
            # A side may have been added since the comparison was measured.
            yield row, sides if {row.ours, row.against} <= sides.keys() else {}


def _target_line(row: Row, sides: Mapping[str, Measured]) -> str:
    target = "-" if row.target is None else f"at least {_quotient(row, row.target)}"
    if row.most_seconds is not None:
        target += f", at most {row.most_seconds:g} s"
    if row.least_accuracy is not None:
        target += f", {row.least_accuracy:.1%} equal labels"
    if not sides:
        return _line(row.what, row.ours, row.against, target, NOT_YET, "", "")
    ours, against = sides[row.ours], sides[row.against]
    middle, lowest, highest = (_quotient(row, ratio) for ratio in ratios(ours, against))
    missing = shortfalls(row, ours, against)
    reached = "-" if row.target is None else f"no: {', '.join(missing)}" if missing else "yes"
    if row.most_seconds is not None:
        middle = f"{middle}, {statistics.median(ours.seconds):.2f} s"
    accuracy = ", ".join(f"{side.accuracy:.4f}" for side in (ours, against) if side.accuracy is not None)
    return _line(row.what, row.ours, row.against, target, f"**{middle}** ({lowest} to {highest})", accuracy, reached)


def _side_line(comparison: str, name: str, side: Measured) -> str:
    rate = statistics.median(side.rates)
    took = f"{statistics.median(side.seconds):.2f} s" if set(side.work) == {1.0} else f"{rate:.0f} GFLOP/s"
    accuracy = ""
    if side.accuracies:
        lowest, highest = min(side.accuracies), max(side.accuracies)
        accuracy = f"{statistics.mean(side.accuracies):.4f} ({lowest:.4f} to {highest:.4f})"
    return _line(comparison, name, side.what, took, accuracy)


def _circumstances(results: Results) -> list[str]:
    """On what and with how much each comparison was measured; comparisons that share it share a line."""
    alike: dict[str, list[str]] = {}
    for name, result in sorted(results.items()):
        said = [
            f"{key} {value}" for key, value in (*sorted(result.conditions.items()), *sorted(result.machine.items()))
        ]
        alike.setdefault("; ".join(said), []).append(name)
    return [f"- {', '.join(names)}: {said}." for said, names in alike.items()]


def _quotient(row: Row, value: float) -> str:
    return f"{value:.0%}" if row.as_share else f"{value:.3g}x"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _measured(written: Mapping[str, Any]) -> Measured:
    return Measured(
        what=written["what"],
        seconds=tuple(written["seconds"]),
        work=tuple(written["work"]),
        accuracies=tuple(written["accuracies"]),
    )
