"""Looking at what was served since the last look, day by day."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from graftline.tasks.watching.feedback import Feedback
from graftline.tasks.watching.kept_looks import Look, LookRows, Looks, digest_of, rows_digest
from graftline.tasks.watching.reference import Reference, logged_rows
from graftline.transfer.permutations import Permuted
from graftline.watching.estimates import estimated_score
from graftline.watching.evidence import LOOKS_A_YEAR, YEARLY_CHANCE, budget_share, weights
from graftline.watching.looks import LEAST_ROWS, SIGNALS, Rows, Signal, after_look, drift_of, joined, sample
from graftline.watching.scores import Bounds, confidence_sequence, lowest_mean, pays_for_scores

if TYPE_CHECKING:
    import pyarrow as pa

    from graftline.evaluation.metrics import Floats

DAY = timedelta(days=1)
WEIGHTS = weights(SIGNALS)


@dataclass(frozen=True)
class Served:
    """The rows of a champion in the log."""

    first: date
    """The first day that may have some."""
    until: date
    """The last day to look at."""
    read: Callable[[date], "pa.Table"]
    """Those of one day."""


def look_at(
    served: Served, reference: Reference, feedback: Mapping[str, Feedback], looks: Looks, *, margin: float
) -> list[Look]:
    """A look for each day since the last one, as far as there is enough to be seen. Returns: the new ones.

    A day with fewer rows than a comparison needs, and no new label, waits for the next one. Where there is a label, so
    few rows are compared together with those of the next looks.
    """
    had = len(looks.records)
    first = max(served.first, looks.records[-1].last + DAY) if had else served.first
    waiting: list[pa.Table] = []
    begins = first
    for day in _days(first, served.until):
        waiting.append(served.read(day))
        labelled = _labelled(looks.rows, waiting, feedback, reference, day)
        rows = sum(map(len, waiting)) + sum(len(kept.compared) for kept in _untested(looks))
        if rows < LEAST_ROWS and not labelled.ids:
            continue
        _look(looks, reference, waiting, (begins, day), labelled, promised_by(reference, margin))
        waiting, begins = [], day + DAY
    return looks.records[had:]


def promised_by(reference: Reference, margin: float) -> float:
    """What the true score has to reach: the held-out rows' less the margin, or less their own luck where that is more.

    The promise is wrong with the chance of its share of the budget, for as long as the champion stays.
    """
    lowest = lowest_mean(reference.right, YEARLY_CHANCE * budget_share(SIGNALS))
    return min(reference.about.promised - margin, lowest)


@dataclass(frozen=True)
class _Labelled:
    """Labels that no look has counted."""

    ids: tuple[str, ...]
    right: "Floats"


def _look(
    looks: Looks,
    reference: Reference,
    tables: "Sequence[pa.Table]",
    days: tuple[date, date],
    labelled: _Labelled,
    promised: float,
) -> None:
    import pyarrow as pa

    table = pa.concat_tables(tables, promote_options="permissive")
    number = len(looks.records) + 1
    random = _random(reference, days[1])
    width = None if reference.rows.features is None else reference.rows.features.shape[1]
    every = logged_rows(table, reference.about, width)
    this_year = slice((number - 1) // LOOKS_A_YEAR * LOOKS_A_YEAR, None)
    compared, tested = _compared(looks, this_year, reference, every, random)
    before = looks.records[-1].signals if looks.records[this_year] else {}
    pays = pays_for_scores(labelled.right, promised) if labelled.ids else None
    rows = LookRows(compared, *_served_columns(table), labelled.ids, labelled.right)
    estimated = _estimated(every, reference, random)
    looks.add(
        Look(
            number=number,
            first=days[0],
            last=days[1],
            rows=len(every),
            compared=len(compared) if tested else 0,
            tested=tested,
            signals=after_look(before, tested, pays, number, WEIGHTS),
            labelled=len(labelled.ids),
            promised=promised,
            score=_score([*(one.right for one in looks.rows[this_year]), labelled.right]),
            day_score=float(labelled.right.mean()) if labelled.ids else None,
            estimated=estimated[0],
            estimated_error=estimated[1],
            means=_means(every, reference) if len(every) else {},
            rows_sha256=rows_digest(rows),
            previous_sha256=digest_of(looks.records[-1]) if looks.records else None,
        ),
        rows,
    )


def _compared(
    looks: Looks, this_year: slice, reference: Reference, every: Rows, random: np.random.Generator
) -> tuple[Rows, Mapping[Signal, Permuted]]:
    """The rows that are compared, and what came of it; if they are too few, they wait and nothing came of it."""
    parts = [part for part in (*(rows.compared for rows in _untested(looks)), every) if len(part)]
    together = joined(parts) if parts else every
    if len(together) < LEAST_ROWS:
        return every, {}
    compared = sample(together, random)
    had = zip(looks.records[this_year], looks.rows[this_year], strict=True)
    earlier = [rows for look, rows in had if look.compared]
    return compared, drift_of(compared, _pool(reference.rows, earlier, compared), reference.about.bandwidth, random)


def _untested(looks: Looks) -> list[LookRows]:
    """The rows of the newest looks, of the same year as the next, that were too few to be compared."""
    newest = len(looks.records)
    begins = newest // LOOKS_A_YEAR * LOOKS_A_YEAR
    while newest > begins and not looks.records[newest - 1].compared:
        newest -= 1
    return looks.rows[newest:]


def _pool(held_out: Rows, earlier: Sequence[LookRows], today: Rows) -> Rows:
    """The held-out rows and those of earlier looks; where today's have features only those that have them, too."""
    parts = [rows.compared for rows in earlier if len(rows.compared)]
    return joined([held_out, *(part for part in parts if part.features is not None or today.features is None)])


def _labelled(
    earlier: Sequence[LookRows],
    waiting: "Sequence[pa.Table]",
    feedback: Mapping[str, Feedback],
    reference: Reference,
    day: date,
) -> _Labelled:
    """The labels that had come by the end of a day, in the order of their rows.

    A label without a time counts as if it came with its row. An id under which the model gave several answers names no
    row, and none of its labels counts.
    """
    counted = {one for rows in earlier for one in rows.scored}
    if not feedback.keys() - counted:
        return _Labelled((), np.zeros(0))
    new = LookRows(reference.rows.take(np.arange(0)), *_columns_of(waiting), (), np.zeros(0))
    found: dict[str, tuple[str, str]] = {}
    first_answers: dict[str, str] = {}
    for rows in (*earlier, new):
        for one, answer, time in zip(rows.ids, rows.answers, rows.times, strict=True):
            label = feedback.get(one)
            if label is None or one in counted:
                continue
            if first_answers.setdefault(one, answer) != answer:
                found.pop(one, None)
                counted.add(one)
                continue
            came = label.time or datetime.fromisoformat(time)
            if came.astimezone(UTC).date() <= day:
                found.setdefault(one, (answer, label.label))
    answers, labels = [pair[0] for pair in found.values()], [pair[1] for pair in found.values()]
    return _Labelled(tuple(found), reference.about.right(answers, labels))


def _columns_of(tables: "Sequence[pa.Table]") -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    parts = [_served_columns(table) for table in tables]
    ids, answers, times = (tuple(one for part in parts for one in part[place]) for place in range(3))
    return ids, answers, times


def _served_columns(table: "pa.Table") -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    times = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in table["time"].to_pylist()]
    return (
        tuple(map(str, table["id"].to_pylist())),
        tuple(map(str, table["answer"].to_pylist())),
        tuple(time.isoformat() for time in times),
    )


def _score(right: "Sequence[Floats]") -> Bounds | None:
    values = np.concatenate(right)
    return confidence_sequence(values, YEARLY_CHANCE) if len(values) else None


def _estimated(rows: Rows, reference: Reference, random: np.random.Generator) -> tuple[float | None, float | None]:
    """Of single labels alone: what else is right has no confidence of its own."""
    if reference.about.task != "single_label" or not len(rows) or np.isnan(rows.confidence).any():
        return None, None
    found = estimated_score(rows.confidence, reference.rows.confidence, reference.right, random)
    return found.value, found.error


def _means(rows: Rows, reference: Reference) -> dict[str, tuple[float, float]]:
    about, held_out = reference.about, reference.rows
    columns = {
        **{name: (held_out.facts[:, place], rows.facts[:, place]) for place, name in enumerate(about.facts)},
        **{
            f"answered {label}": (held_out.answers[:, place], rows.answers[:, place])
            for place, label in enumerate(about.labels[: held_out.answers.shape[1]])
        },
        "confidence" if about.labels else "answer": (held_out.confidence, rows.confidence),
    }
    floats = {name: [np.asarray(side, dtype=np.float64) for side in pair] for name, pair in columns.items()}
    known = {name: pair for name, pair in floats.items() if not any(np.isnan(side).all() for side in pair)}
    return {name: (float(np.nanmean(then)), float(np.nanmean(now))) for name, (then, now) in known.items()}


def _random(reference: Reference, day: date) -> np.random.Generator:
    """The same for the same champion and day, and nobody's to choose."""
    seed = hashlib.sha256(f"{reference.about.run_id} {day}".encode()).digest()
    return np.random.default_rng(list(seed))


def _days(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += DAY
