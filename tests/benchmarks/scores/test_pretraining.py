"""The page about continued pre-training: what is drawn, compared and kept, never how good any model is."""

from dataclasses import replace
from pathlib import Path

from benchmarks.problems.real_sets import Rows
from benchmarks.scores.pretraining import CASES, PLAIN, SIDES, SOURCE, TARGET, Kept, drawn_for, page
from benchmarks.scores.seeds import trained_as


def rows_of(domain: str) -> Rows:
    return [(f"{domain} {number}", "good" if number % 2 else "bad") for number in range(40)]


def test_no_text_that_is_learned_from_judges_and_seeds_draw_others() -> None:
    case = replace(CASES[0], source=lambda _: rows_of("film"), target=lambda _: rows_of("product"))
    case = replace(case, labelled=10, texts=20, judges=15)
    drawn, other = (drawn_for(case, Path(), seed) for seed in (0, 1))
    judges = {text for rows in drawn.judges.values() for text, _ in rows}
    assert {name: len(rows) for name, rows in drawn.judges.items()} == {SOURCE: 15, TARGET: 15}
    assert (len(drawn.labelled), len(drawn.texts)) == (10, 20)
    assert not judges & {*drawn.texts, *(text for text, _ in drawn.labelled)}
    assert all(text.startswith("product") for text in drawn.texts)
    assert drawn.labelled != other.labelled

    alone = drawn_for(replace(case, target=None), Path(), 0)
    assert set(alone.judges) == {SOURCE}
    assert not set(alone.texts) & {text for text, _ in [*alone.labelled, *alone.judges[SOURCE]]}


def test_the_page_shows_the_cases_of_which_everything_is_known() -> None:
    shifted, _, alone = CASES
    known = Kept()
    for case, domains in ((shifted, (SOURCE, TARGET)), (alone, (SOURCE,))):
        for seed in (0, 1):
            known.losses[trained_as(case.name, seed)] = (8.0, 4.0 + seed)
            for place, side in enumerate(SIDES):
                score = 0.5 + 0.1 * place + 0.01 * seed * place
                known.accuracies[trained_as(f"{case.name}; {side}", seed)] = dict.fromkeys(domains, score)
    del known.accuracies[trained_as(f"{alone.name}; {PLAIN}", 1)]
    shown = page(known, [0, 1])
    assert f"| {PLAIN} | 0.5000 (0.5000 to 0.5000) | - | 0.5000 (0.5000 to 0.5000) | - |" in shown
    assert "| wise | 0.6050 (0.6000 to 0.6100) | +0.1050 (" in shown
    assert "went from 8.00 to 4.50" in shown
    assert alone.name.capitalize() not in shown
