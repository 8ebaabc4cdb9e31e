"""The report of a run as one self-contained page, and the model card as Markdown."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.evaluation.scoring import Scoring, spelt
from graftline.pages.answers_shown import AnswersShown
from graftline.pages.making import BaseUsed, DataRead, Trained
from graftline.pages.text import spelt_out, visible
from graftline.settings import Kind
from graftline.verdict.axis import Axis, worst

if TYPE_CHECKING:
    from graftline.behaviour.held_out import SliceScores

Scores = Mapping[str, Mapping[str, float]]

CALIBRATION = "calibration_error"
# A slice is too small for more.
SCORES_OF_SLICES = 2


@dataclass(frozen=True)
class Table:
    """Findings about a model beside its scores."""

    title: str
    lead: str
    """Its meaning, in a sentence."""
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class BaselineRow:
    """One baseline in the report: what it reaches, or why it was not computed."""

    name: str
    score: Mapping[str, float] | None
    """Its main score."""
    difference: Mapping[str, float] | None
    """The model's main score minus that, paired on rows."""
    why: str | None = None
    """Why it was left out, if it was."""


@dataclass(frozen=True)
class Picture:
    """A figure."""

    title: str
    png: bytes
    seen: str
    """The same in words, for who cannot see it."""


@dataclass(frozen=True)
class ExampleRow:
    """A held-out row to look at."""

    row_id: str
    holds: str
    """The text, or the name of the file."""
    address: str | None
    """The image or sound as a data address."""
    missing: str | None
    """Why there is none."""
    target: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class ExampleRows:
    """Rows that have something in common, of which some are shown."""

    title: str
    rows: int
    shown: Sequence[ExampleRow]


@dataclass(frozen=True)
class Link:
    """A way on from the page."""

    what: str
    words: str
    address: str | None = None
    """Where a browser finds it: http, https, or a file beside the page."""


@dataclass(frozen=True)
class RunReport:
    """Everything that the page and the card tell about one run."""

    model: str
    version: int
    run_id: str
    verdict: str
    sentence: str
    """What came out, for who knows no statistics."""
    cautions: Sequence[str]
    """What a reader has to know before anything else, in sentences."""
    reasons: Sequence[str]
    axes: Sequence[Axis]
    policy_sha256: str
    labels: Sequence[str]
    kind: Kind
    scoring: Scoring
    shown: AnswersShown
    max_tokens: int
    max_seconds: float
    base: BaseUsed
    data: DataRead
    training: Trained
    scores: Scores
    uncalibrated_scores: Scores
    """Without the temperature."""
    champion: str | None
    champion_scores: Scores | None
    difference: Scores | None
    majority_label: str
    """The answer to everything without a model, in words."""
    majority_scores: Scores
    baselines: Sequence[BaselineRow]
    classes: Sequence[Mapping[str, str | int | float]]
    slices: "Mapping[str, Sequence[SliceScores]]"
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    other: str
    """The model that examples are compared with, in plain words."""
    examples: Sequence[ExampleRows]
    links: Sequence[Link]
    settings: str
    unrepeatable: str | None = None
    """Why the run cannot be reproduced, if it cannot."""
    targets: Table | None = None
    """Where there are several targets all of them; every other score of the page is the first one's."""
    groups: int | None = None
    """How many groups the held-out rows are of, with `data.group`: then every interval and test is by group."""


def render_report(run: RunReport) -> str:
    """The page as HTML; every value is escaped."""
    return _render("report.html", run, autoescape=True)


def render_card(run: RunReport) -> str:
    """The model card as Markdown; no value can end its table cell or become markup."""
    return _render("model_card.md", run, autoescape=False)


def facts(run: RunReport) -> list[tuple[str, str]]:
    """How the model was made, as names and values."""
    return [
        *run.base.facts,
        *run.data.facts,
        *run.training.facts,
        *([("calibration", calibrated(run))] if CALIBRATION in run.scores else []),
        ("promotion policy", f"sha256 {run.policy_sha256}"),
        ("MLflow run", run.run_id),
    ]


def calibrated(run: RunReport) -> str:
    """The effect of the temperature, in words."""
    before, after = run.uncalibrated_scores[CALIBRATION], run.scores[CALIBRATION]
    return (
        f"temperature {run.training.temperature:.3f}, fitted on the {run.data.split['validation']:,} validation rows;"
        f" it changes no label; {spelt(CALIBRATION)} on the held-out rows {_interval(before)} without it,"
        f" {_interval(after)} with it"
    )


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.4f} ({score['low']:.4f} – {score['high']:.4f})"


def _render(template: str, run: RunReport, *, autoescape: bool) -> str:
    environment = Environment(loader=PackageLoader("graftline.pages"), autoescape=autoescape, undefined=StrictUndefined)  # noqa: S701
    number = run.shown.number
    environment.filters |= {
        "visible": visible,
        "state": _state,
        "outcome": outcome_of,
        "spelt": spelt,
        "value": lambda score: f"{number(score['value'])}{run.shown.unit}",
        "interval": lambda score: f"{number(score['low'])} – {number(score['high'])}",
        "spelt_out": spelt_out,
        "cell": _cell,
        "score": _interval,
        "difference": lambda score: f"{score['value']:+.4f} ({score['low']:+.4f} – {score['high']:+.4f})",
        "base64": lambda content: base64.b64encode(content).decode(),
        "sentence": lambda text: spelt_out(f"{text[:1].upper()}{text[1:]}."),
    }
    return environment.get_template(template).render(
        run=run,
        facts=facts(run),
        calibrated=calibrated(run) if CALIBRATION in run.scores else None,
        scoring=run.scoring,
        shown=run.shown,
        scores_of_slices=list(run.scoring.better)[:SCORES_OF_SLICES],
        asked=[axis for axis in run.axes if axis.asked],
        not_asked=[axis for axis in run.axes if not axis.asked],
    )


def outcome_of(axis: Axis) -> str:
    """How an axis came out, by those of its parts that were looked at."""
    if not axis.asked:
        return "not asked for"
    if axis.outcome != "unknown":
        return axis.outcome
    if axis.consequence:
        return "open"
    known = [part for part in axis.parts if part.outcome != "unknown"]
    return worst(known) if known else "not judged"


def _state(axis: Axis) -> str:
    """In which colour an axis stands."""
    if axis.consequence:
        return "bad" if axis.consequence == "REJECT" else "warn"
    if outcome_of(axis) in ("not asked for", "not judged"):
        return "empty"
    return "good" if axis.blocks or axis.outcome != "loss" else "warn"


def _cell(value: object) -> str:
    text = " ".join(visible(value).split())
    return "".join(f"\\{mark}" if mark in "\\`*_[]<>|#!" else mark for mark in text)
