"""Report and model card: whatever a label, a name or a reason holds stays text, and no other host is asked."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest

from graftline.answers.tasks import TASKS
from graftline.behaviour.held_out import SliceScores
from graftline.pages.making import BaseUsed, DataRead, Trained, kept
from graftline.pages.report import (
    BaselineRow,
    ExampleRow,
    ExampleRows,
    Link,
    Picture,
    RunReport,
    Table,
    render_card,
    render_report,
)
from graftline.verdict.axis import Axis, Part

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`|*_[a](javascript:alert(3)){{ 7*7 }}\u202egnp.exe"
SCORE = {"value": 0.9, "low": 0.8, "high": 0.95}
SCORES = dict.fromkeys(("accuracy", "macro_f1", "log_loss", "calibration_error"), SCORE)
BEFORE = {"value": 0.5, "low": 0.4, "high": 0.6}
THUMBNAIL = "data:image/jpeg;base64,aGk="
PIXEL = b"\x89PNG\r\n\x1a\n"


def report_of(text: str) -> RunReport:
    """A report in which every free text is `text`."""
    task = TASKS["single_label"]
    return RunReport(
        model="tiny", version=3, run_id="r1", verdict="HOLD", sentence=text, cautions=[text], reasons=[text, "second"],
        axes=[
            Axis("champion", "tie", text, "HOLD"),
            Axis("slices", "unknown", text, parts=[Part(text, "unknown", {"rows": 7}, text)]).as_advice(),
            Axis("bias", "unknown", text, asked=False),
        ],
        policy_sha256="p" * 64, labels=[text, "good"],
        kind="text", scoring=task.scores.scoring, shown=task.shown, max_tokens=32, max_seconds=30.0,
        base=BaseUsed(text, text, sha256="b" * 64, licence=text),
        data=DataRead(
            text, "v" * 32, modified=True, licence=text, read=1201, accepted=1200, quarantined=1, twins=0,
            split={"train": 1000, "validation": 100, "test": 100}, target_domain=f"40 rows of {text}",
        ),
        training=Trained(
            "partial", text, frozen_sha256="f" * 64, weights_sha256="w" * 64, epochs=3, kept_epochs=(2,), seconds=12.3,
            temperature=0.7,
        ),
        scores=SCORES,
        uncalibrated_scores=dict.fromkeys(SCORES, BEFORE), champion="version 2", champion_scores=SCORES,
        difference=SCORES,
        majority_label=text, majority_scores=SCORES,
        baselines=[BaselineRow(text, SCORE, SCORE), BaselineRow(text, None, None, text)],
        classes=[{"label": text, "precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 7}],
        slices={text: [SliceScores(text, 7, SCORES)]}, pictures=[Picture("Confusion", PIXEL, text)], other=text,
        examples=[
            ExampleRows("Newly right", 9, [ExampleRow(text, text, None, text, text, text, text)]),
            ExampleRows("Newly wrong", 1, [ExampleRow(text, text, THUMBNAIL, None, text, text, text)]),
        ],
        links=[Link("MLflow run", text, "http://127.0.0.1:5000/#/runs/r1"), Link("history", text)],
        tables=[Table(text, text, [text, "n"], [[text, "7"], [text, "8"]])],
        settings=f"data:\n  licence: {text}\n",
    )  # fmt: skip


def test_a_mean_with_the_first_weights_is_told_with_its_share() -> None:
    between = ({"share": 0.7, "validation_loss": 0.4, "validation_score": 0.9},)
    plain = report_of("text")
    mixed = dataclasses.replace(plain, training=dataclasses.replace(plain.training, between=between))
    assert "best 2, 0.7 of it and 0.3 of what it began with, 12 s" in render_report(mixed)
    assert "best 2, 12 s" in render_report(plain)


def test_groups_are_told_where_there_are_some() -> None:
    grouped, alone = dataclasses.replace(report_of("text"), groups=1200), report_of("text")
    assert "<dt>groups of these rows</dt><dd>1,200</dd>" in render_report(grouped)
    assert "groups of these rows" not in render_report(alone)
    assert "## Scores on 100 held-out rows of 1200 groups\n| score |" in render_card(grouped)
    assert "## Scores on 100 held-out rows\n| score |" in render_card(alone)


def test_the_rows_of_a_target_domain_are_told_where_there_are_some() -> None:
    plain = report_of("shops")
    there = dataclasses.replace(plain, training=dataclasses.replace(plain.training, domain="coral"))
    none = dataclasses.replace(plain, data=dataclasses.replace(plain.data, target_domain=None))
    for render in (render_report, render_card):
        assert "40 rows of shops" in render(there)
        assert "coral" in render(there)
        assert "target domain" not in render(none)


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_texts_add_no_element_and_no_attribute_to_the_report() -> None:
    harmless, hostile = Page(render_report(report_of("text"))), Page(render_report(report_of(HOSTILE)))
    assert hostile.tags == harmless.tags
    # What somebody hears who cannot see the figure may be any text; it may only not end its attribute.
    written = {"alt", "title", "data-name"}
    assert [name for name, _ in hostile.attributes] == [name for name, _ in harmless.attributes]
    assert [one for one in hostile.attributes if one[0] not in written] == [
        one for one in harmless.attributes if one[0] not in written
    ]
    assert "script" not in hostile.tags


def test_hostile_texts_can_be_read_in_the_report_with_what_turns_a_line_around_spelt_out() -> None:
    text = Page(render_report(report_of(HOSTILE))).text
    assert text.count(HOSTILE.replace("\u202e", "\\u202e")) >= 6


def test_a_long_reason_stands_in_the_report_whole() -> None:
    assert "z" * 999 in render_report(dataclasses.replace(report_of("text"), reasons=["z" * 1000]))


def test_no_free_text_turns_a_line_of_the_report_around() -> None:
    assert "\u202e" not in render_report(report_of(HOSTILE))


def test_the_report_needs_no_other_file_and_no_other_host() -> None:
    page = Page(render_report(report_of("text")))
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "srcset", "action", "poster")]
    assert sources == ["data:image/jpeg;base64,aGk=", "data:image/png;base64,iVBORw0KGgo="]
    ways = [value for name, value in page.attributes if name == "href" and not str(value).startswith("#")]
    assert ways == ["http://127.0.0.1:5000/#/runs/r1"]  # followed only by who presses it
    assert not re.search(r"url\(|@import", render_report(report_of("text")))


def test_the_report_forbids_itself_what_it_does_not_need() -> None:
    page = Page(render_report(report_of("text")))
    assert (
        "content",
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:",
    ) in page.attributes


def test_the_report_tells_verdict_scores_and_rows() -> None:
    text = Page(render_report(report_of("text"))).text
    for part in ("HOLD: tiny version 3", "Text.", "Second.", "90.0 %", "80.0 – 95.0", "0.9000 (0.8000 – 0.9500)",
                 "+0.9000 (+0.8000 – +0.9500)", "1,201 read, 1,200 accepted, 1 quarantined",
                 "modified (bars promotion)", "graftline reproduce tiny --version 3"):  # fmt: skip
        assert part in text


def test_the_report_tells_each_axis_and_its_parts() -> None:
    text = "".join(Page(render_report(report_of("text"))).text.split())
    assert "championtie:HOLDText." in text
    assert "slicesadvisesnotjudgedText.onebyonenotjudgedtext:text" in text


def test_nothing_that_the_policy_does_not_ask_for_is_called_unknown() -> None:
    html = render_report(report_of("text"))
    assert "Not asked for: bias" in html
    assert html.index('<details class="folded"><summary>Not asked for') < html.index('<th scope="row">bias</th>')
    assert "unknown" not in html + render_card(report_of("text"))


def test_headings_go_down_one_step_at_a_time_and_each_way_on_the_page_leads_somewhere() -> None:
    page = Page(render_report(report_of("text")))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [value for name, value in page.attributes if name == "id"]
    assert [f"#{one}" for one in ids] == [
        value for name, value in page.attributes if name == "href" and str(value).startswith("#")
    ]


def test_every_row_of_a_table_begins_with_its_head() -> None:
    html = render_report(report_of("text"))
    for row in re.findall(r"<tr>(?:(?!</tr>).)*</tr>", html, re.DOTALL):
        assert re.match(r'<tr>\s*<th scope="(row|col)"', row), row


def test_a_figure_is_told_in_words() -> None:
    assert Page(render_report(report_of("seen"))).attributes.count(("alt", "seen")) == 1


def test_cautions_stand_before_all_that_was_measured() -> None:
    html = render_report(report_of("mind this"))
    assert html.index("<strong>Mind:</strong> Mind this.") < html.index("What decided")


def test_a_report_without_a_champion_compares_with_none() -> None:
    alone = dataclasses.replace(report_of("text"), champion=None, champion_scores=None, difference=None)
    assert "paired on rows" not in render_report(alone)
    assert "On the same rows" not in render_card(alone)


def unescaped(card: str) -> str:
    """The card without its escaped marks: what is left of them is Markdown's own."""
    return re.sub(r"\\[\\`*_\[\]<>|#!]", "", card)


def test_hostile_texts_stay_text_in_the_model_card() -> None:
    plain, hostile = unescaped(render_card(report_of("text"))), unescaped(render_card(report_of(HOSTILE)))
    for mark in "<>[]|*`#!":
        assert hostile.count(mark) == plain.count(mark), mark


def test_a_text_of_several_lines_stays_in_its_line_of_the_card() -> None:
    plain, broken = render_card(report_of("text")), render_card(report_of("one\n\n# two\r\n| three |\u2028four"))
    assert len(broken.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("part", ["version 3", "**HOLD**", "CC0", "1,201 read", "0.8000 to 0.9500", "cut to 32 tokens"])
def test_the_model_card_tells_what_a_reader_of_the_registry_needs(part: str) -> None:
    assert part in render_card(report_of("CC0"))


def test_the_report_says_whose_weights_the_model_has() -> None:
    assert kept((2,)) == "best 2"
    assert kept((3, 1, 2)) == "weights the mean of 1, 2, 3"


def test_the_report_and_the_card_tell_the_calibration_before_and_after() -> None:
    for page in (render_report(report_of("text")), render_card(report_of("text"))):
        assert "temperature 0.700, fitted on the 100 validation rows" in page.replace("Temperature", "temperature")
        assert "0.5000 (0.4000 – 0.6000) without it, 0.9000 (0.8000 – 0.9500) with it" in page


def test_the_card_says_whether_groups_were_compared() -> None:
    run = report_of("text")
    groups = dataclasses.replace(run, tables=[Table("Groups", "text", ["what"], [["sex"]])])
    assert "not examined here" in render_card(run)
    assert "compared between groups stands above" in render_card(groups)


def test_a_model_of_numbers_has_no_calibration_to_tell_of() -> None:
    score = {"r2": SCORE, "mean_absolute_error": SCORE, "root_mean_squared_error": SCORE}
    task = TASKS["regression"]
    numbers = dataclasses.replace(
        report_of("text"), scoring=task.scores.scoring, shown=task.shown,
        scores=score, uncalibrated_scores=score, majority_scores=score,
        champion=None, champion_scores=None, difference=None, slices={},
    )  # fmt: skip
    assert "temperature" not in render_report(numbers) + render_card(numbers)
