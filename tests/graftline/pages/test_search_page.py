"""The page about a search: what others wrote is harmless on it, and all that decides stands there."""

from dataclasses import replace

from graftline.pages.search_page import SearchPage, TrialShown, render
from graftline.search.pictures import Mark, importances_picture, scores_picture

PAGE = SearchPage(
    data_version="abc",
    rows={"train": 1200, "validation": 300},
    score="accuracy",
    found="best of 2 trials: strategy lora",
    caution="looks better than it is",
    lines="adaptation:\n  strategy: lora\n",
    trials=[
        TrialShown(2, "strategy lora", "went through", 0.8123, 3, 61.0, "", best=True),
        TrialShown(1, "the settings as they are", "failed", None, 0, 1.0, "<script>alert(1)</script>", best=False),
    ],
    count=2,
    importances={"learning_rate": 0.75, "strategy": 0.25},
    scores_picture=b"png",
    importances_picture=b"png",
)


def test_what_others_wrote_is_escaped_and_no_other_host_is_asked() -> None:
    page = render(PAGE)
    assert "<script>" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_tells_the_trials_the_lines_to_write_and_how_many_are_not_shown() -> None:
    page = render(PAGE)
    for said in ("strategy lora (best)", "0.8123", "adaptation:\n  strategy: lora", "1,200 training", "looks better"):
        assert said in page
    assert "The best 2 of" not in page
    assert "The best 2 of 300 trials" in render(replace(PAGE, count=300))
    bare = render(replace(PAGE, lines="", importances={}, importances_picture=None))
    assert "What to write" not in bare
    assert "What made the difference" not in bare


def test_the_pictures_are_the_same_for_the_same_numbers() -> None:
    marks = {1: Mark(0.7, True), 2: Mark(0.5, False), 3: Mark(0.8, True)}
    assert scores_picture(marks, "accuracy") == scores_picture(marks, "accuracy")
    assert scores_picture(marks, "accuracy") != scores_picture({1: marks[1]}, "accuracy")
    assert importances_picture(PAGE.importances) != importances_picture({"strategy": 1.0})
