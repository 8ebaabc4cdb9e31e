"""The page that ranks settings by kind of input: seeds draw the rows, equal ranks are shared."""

from pathlib import Path

import pytest

from benchmarks.problems.real_sets import SETS
from benchmarks.scores.defaults import CANDIDATES, PRESENT, Kept, page, task_of
from benchmarks.scores.seeds import SEEDS

ROWS = [(f"text {number}", "ab"[number % 2]) for number in range(40)]
TEXTS = [of.name for of in SETS if of.kind == "text"]


def known(seeds: tuple[int, ...]) -> Kept:
    """The present default is right on most rows, two others on equally many, and the rest on fewer."""
    best = {line: 0.5 - 0.01 * place for place, line in enumerate(CANDIDATES["text"])}
    best |= {PRESENT: 0.9, "feature_extraction": 0.8, "probe_then_fine_tune, rate 2e-5": 0.8}
    names = [(name, line, seed) for name in TEXTS for line in best for seed in seeds]
    accuracies = {f"text; {name}; {line}; seed {seed}": best[line] + 0.001 * seed for name, line, seed in names}
    return Kept(accuracies, dict.fromkeys(accuracies, 2.0))


def test_the_seed_draws_the_rows_and_none_is_on_both_sides() -> None:
    first, again, other = (task_of([*ROWS, *ROWS], Path(), "text", seed, rows=(20, 10)) for seed in (0, 0, 1))
    assert first == again
    assert set(first.train.inputs).isdisjoint(first.test.inputs)
    assert (len(first.train.inputs), len(first.test.inputs)) == (20, 10)
    assert first.train.inputs != other.train.inputs
    learned = zip(first.train.inputs, first.train.targets, strict=True)
    assert all(first.labels[target] == dict(ROWS)[str(raw)] for raw, target in learned)
    with pytest.raises(SystemExit, match="there are 40 rows, expected 41"):
        task_of(ROWS, Path(), "text", 0, rows=(31, 10))


def test_lines_stand_by_mean_rank_and_equal_ones_share_it() -> None:
    lines = page(known(SEEDS), SEEDS).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"| {PRESENT} |"))
    assert lines[place].startswith(f"| {PRESENT} | 1.00 | 0.9020 | 0.9020 | 0.9020 | - |")
    assert "| 2.50 | 0.8020 | 0.8020 | 0.8020 | -0.1000 " in lines[place + 1]
    assert "| 2.50 |" in lines[place + 2]


def test_fewer_seeds_than_were_asked_for_decide_nothing() -> None:
    text = "**Not decided yet**"
    assert page(known(SEEDS), SEEDS).count(text) == 2  # images and sounds
    some = page(known((0, 1)), SEEDS)
    assert some.count(text) == 3
    assert "2 of 5 seeds are whole" in some
