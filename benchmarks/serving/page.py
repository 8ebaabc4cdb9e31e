"""The page of what 50 clients saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from graftline.files import write_atomically

# Of another measurement, by the same clients.
TUNED = (
    "Our settings were tuned on a machine of two cores: batches at once, threads for each, inputs in one. "
    "MLflow's were set in workers and threads alone. It is the share of the processor that explains the quotients "
    "of a busy machine, and not these settings: with 13 threads that wanted to compute, one batch at once with "
    "two threads, three with one each, and batches of 4 instead of 8 gave 31, 27 and 26 rows a second and 71, 69 "
    "and 65 per second of processor (medians of 3 turns), the defaults 29 and 70, MLflow's server with 1 worker "
    "34 and 42: it used twice the processor."
)


@dataclass(frozen=True)
class Measured:
    """What the clients of one server saw."""

    rows_per_second: float
    rows_per_computed: float
    """Per second of processor that the server used, its own and that of all that it started."""
    median_milliseconds: float
    p95_milliseconds: float
    failed: int
    """Requests without an answer, or with another status than 200."""
    requests: int


# By the name of the side.
Turn = Mapping[str, Measured]


@dataclass(frozen=True)
class Switch:
    """What they saw while the alias moved."""

    seconds: float
    """From the moved alias to the first answer of the new version."""
    old_afterwards: int
    """Answers of the old version to requests that began after that."""
    parts: Mapping[str, Measured]


def write_page(path: Path, machine: Mapping[str, str], turns: Sequence[Turn], switch: Switch, *, load: float) -> None:
    """The first side of the turns is ours; the others are compared with it, turn by turn.

    `load`: how many programs wanted to compute on average while it was measured, the servers and clients among them.
    """
    ours, *others = turns[0]
    lines = [
        "# Serving 50 clients",
        "",
        f"The review model (MiniLM of 6 layers, float32) on {machine['processor']}, {machine['cores']} cores, torch"
        f" {machine['torch']}. 50 clients, each on a connection of its own, ask one review at a time, and the next one"
        " as soon as they are answered; they compute on the same cores. All servers run at once and are asked by turns"
        f" ({len(turns)}, each beginning with another server), so that whatever else the machine does meets all of"
        " them. Quotients are taken within a turn: the median, and the lowest and highest. `graftline serve` has its"
        " defaults: it logs every row with its features. Made by `python -m benchmarks.serving`.",
        "",
        f"While it was measured {load:.0f} threads wanted to compute on average. Where these are more than cores,"
        " others' work among them, a server is given the more of the processor the more threads it has: MLflow's runs"
        " six requests at once, each with all its threads, `graftline serve` two. Rows *per second of processor* that a"
        " server, and all that it started, has used depend on that far less.",
        "",
        TUNED,
        "",
        "| server | rows a second | per processor second | median ms | p95 ms | failed |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(name, [turn[name] for turn in turns]) for name in (ours, *others)),
        "",
        "| ours divided by | rows a second | per processor second | p95 |",
        "| --- | --- | --- | --- |",
        *(_quotients(name, [(turn[ours], turn[name]) for turn in turns]) for name in others),
        "",
        "## The alias moves under them",
        "",
        f"{switch.seconds:.1f} s after the alias was moved the first answer of the new version came; loading it takes"
        f" its share of the same cores. Requests that failed: {sum(part.failed for part in switch.parts.values())} of"
        f" {sum(part.requests for part in switch.parts.values()):,}. Answers of the old version to requests that began"
        f" after the first answer of the new one: {switch.old_afterwards}.",
        "",
        "| | rows a second | median ms | p95 ms |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {one.rows_per_second:.0f} | {one.median_milliseconds:.0f} | {one.p95_milliseconds:.0f} |"
            for name, one in switch.parts.items()
        ),
        "",
    ]
    write_atomically(path, "\n".join(lines))


def _line(name: str, turns: Sequence[Measured]) -> str:
    cells = [
        name,
        f"{median(one.rows_per_second for one in turns):.0f}",
        f"{median(one.rows_per_computed for one in turns):.0f}",
        f"{median(one.median_milliseconds for one in turns):.0f}",
        f"{median(one.p95_milliseconds for one in turns):.0f}",
        f"{sum(one.failed for one in turns)} of {sum(one.requests for one in turns):,}",
    ]
    return f"| {' | '.join(cells)} |"


def _quotients(name: str, turns: Sequence[tuple[Measured, Measured]]) -> str:
    cells = [
        name,
        _span([ours.rows_per_second / theirs.rows_per_second for ours, theirs in turns]),
        _span([ours.rows_per_computed / theirs.rows_per_computed for ours, theirs in turns]),
        _span([ours.p95_milliseconds / theirs.p95_milliseconds for ours, theirs in turns]),
    ]
    return f"| {' | '.join(cells)} |"


def _span(values: Sequence[float]) -> str:
    return f"**{median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"
