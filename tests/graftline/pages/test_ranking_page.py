"""The page about ranked base models: what others wrote is harmless on it, and what was not asked is said."""

from dataclasses import replace

from graftline.pages.ranking_page import (
    AgreementShown,
    BaseShown,
    BlockShown,
    DepthShown,
    RankingPage,
    TuningShown,
    render,
)
from graftline.transfer.pictures import Bar, Spot, cost_picture, gradient_picture

PAGE = RankingPage(
    data_version="abc",
    rows={"train": 1200, "validation": 300},
    score="R²",
    advice="take path:<script>alert(1)</script>",
    other_scores=["LogME"],
    not_asked=[("regularised H-score", "asks how far apart classes lie, and numbers are none")],
    bases=[
        BaseShown(
            "path:<b>", "mit", 90.0, 22_600_000, 46.0, [DepthShown("head", (0.5, 0.4, 0.6), [-0.6])],
            [("fine_tuning", 0.7)], advised=True,
        )
    ],
    agreements=[AgreementShown("LogME", None, means_something=False)],
    checked="LogME: nothing is known",
    picture=b"png",
    tuning=TuningShown(
        "tune path:<b> from block 2 of 2 on",
        [BlockShown("h.0", (0.1, 0.05, 0.2), False, 0.61), BlockShown("h.1", (0.3, 0.2, 0.4), True, None)],
        head=0.5, checked="nothing is shown yet", picture=b"bars",
    ),
)  # fmt: skip


def test_what_others_wrote_is_escaped_and_no_other_host_is_asked() -> None:
    page = render(PAGE)
    assert "<script>" not in page
    assert "&lt;b&gt; (advised)" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_tells_numbers_what_was_not_asked_and_what_means_nothing() -> None:
    page = render(PAGE)
    for said in ("0.5000 (0.4000 to 0.6000)", "22.6 M parameters", "fine_tuning came to 0.7000", "1,200 training"):
        assert said in page
    assert "regularised H-score is left out: it asks how far apart classes lie" in page
    assert "means nothing here yet" in page
    known = replace(PAGE, agreements=[AgreementShown("LogME", (0.8, 0.3, 1.0), means_something=True)])
    assert "orders them" in render(known)
    assert "0.30 to 1.00" in render(known)


def test_the_picture_is_the_same_for_the_same_numbers() -> None:
    spots = [Spot("a" * 60, 10.0, 0.8, 0.7, 0.9, [0.85], True), Spot("b", 2.0, 0.7, 0.6, 0.8, [], False)]
    assert cost_picture(spots, "accuracy") == cost_picture(spots, "accuracy")
    assert cost_picture(spots, "accuracy") != cost_picture(spots[:1], "accuracy")


def test_the_page_tells_each_block_what_tuning_from_it_came_to_and_where_blocks_are_not_asked() -> None:
    page = render(PAGE)
    for said in ("0.1 (0.05 to 0.2)", "0.6100", "freeze", "tune", "the head alone", "nothing is shown yet"):
        assert said in page
    not_asked = TuningShown("it cannot be said", [], head=0.5, checked="nothing is shown yet", picture=None)
    page = render(replace(PAGE, tuning=not_asked))
    assert "it cannot be said" in page
    assert "the head alone" not in page


def test_the_picture_of_gradients_is_the_same_for_the_same_numbers_and_shows_what_is_tuned() -> None:
    bars = [Bar(0.1, 0.05, 0.2, False), Bar(0.3, 0.2, 0.4, True)]
    assert gradient_picture(bars, enough=0.15) == gradient_picture(bars, enough=0.15)
    assert gradient_picture(bars, enough=0.15) != gradient_picture([replace(bars[0], tuned=True), bars[1]], enough=0.15)
