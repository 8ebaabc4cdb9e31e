"""The pages of few rows of each label and of rare labels, from numbers that are made up."""

import pytest

from benchmarks.problems.problem import Labelled, Task
from benchmarks.scores import imbalance
from benchmarks.scores.few_per_label import KEPT, PAGE, SIDES, TITLE, Kept, known_so_far, section
from benchmarks.sides.setfit import steps_of_an_epoch
from graftline.models.preprocessing import Reading


def test_only_draws_that_all_sides_have_are_shown_paired_with_contrastive() -> None:
    known = Kept()
    for draw in (0, 1, 2):
        for place, side in enumerate(SIDES):
            if (draw, side) != (2, "SetFit"):
                known.accuracies[f"reviews; 8; {side}; {draw}"] = 0.5 + 0.1 * place + 0.01 * draw
                known.seconds[f"reviews; 8; {side}; {draw}"] = 10.0 * (place + 1)
    lines = section(known).splitlines()
    shown = [line for line in lines if line.startswith("| 8 ")]
    assert len(shown) == len(SIDES)
    assert shown[0].startswith("| 8 | 2 | feature_extraction | 0.5050 (0.5000 to 0.5100) | -0.2000 (")
    assert shown[0].endswith("| 0.33 |")
    assert shown[2].endswith("| - | 1 |")
    assert not [line for line in lines if line.startswith("| 16 ")]


def test_the_part_of_the_page_in_docs_is_what_the_kept_numbers_say() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(TITLE)
    if KEPT.with_suffix(".json").exists():
        assert shown[1] + shown[2] == section(known_so_far())
    else:
        assert not shown[1]


@pytest.mark.parametrize(("counts", "steps"), [((8, 8), 9), ((16, 16, 16), 96)])
def test_an_epoch_of_setfit_has_all_pairs_of_both_kinds_as_often(counts: tuple[int, ...], steps: int) -> None:
    targets = [place for place, count in enumerate(counts) for _ in range(count)]
    rows = Labelled(["a"] * len(targets), targets)
    task = Task(PAGE, Reading("text", 64), tuple("abc"), rows, rows)
    assert steps_of_an_epoch(task) == steps


def test_the_page_of_rare_labels_compares_each_way_with_the_first_draw_by_draw() -> None:
    count = len(imbalance.SCORES)
    draws = [
        {way: [0.1 * place + 0.01 * draw] * count for place, way in enumerate(imbalance.WAYS)} for draw in range(3)
    ]
    lines = imbalance.page(draws).splitlines()
    assert lines.count("| none | likeliest | 0.0100 (0.0000 to 0.0200) | - |") == count
    assert lines.count("| balanced | likeliest | 0.1100 (0.1000 to 0.1200) | 0.1000 (0.1000 to 0.1000) |") == count
