"""The report of a run as one self-contained page, and the model card as Markdown."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftline.evaluation.scoring import Scoring, spelt
from graftline.pages.answers_shown import AnswersShown
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
    base_model: str
    base_model_revision: str
    base_model_sha256: str
    base_model_licence: str
    data_path: str
    data_version: str
    data_modified: bool
    data_licence: str
    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    rows_twins: int
    split_rows: Mapping[str, int]
    strategy: str
    frozen: str
    frozen_sha256: str
    weights_sha256: str
    kept_epochs: Sequence[int]
    """Whose weights the model has: of one epoch, or the mean of several."""
    epochs: int
    training_seconds: float
    temperature: float
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
    between: Sequence[Mapping[str, float]] = ()
    """The means of the weights before and after fine-tuning that were tried, the one that was taken first."""
    mended: str | None = None
    """What was done against differences between groups, in words."""
    pretraining: str | None = None
    """How the base model's pre-training went on before the training, in words, if it did."""
    targets: Table | None = None
    """Where there are several targets all of them; every other score of the page is the first one's."""
    groups: int | None = None
    """How many groups the held-out rows are of, with `data.group`: then every interval and test is by group."""
    target_domain: str | None = None
    """The rows of the target domain, in words, if there are any."""
    domain: str = ""
    """The way into it, in words, if there is one."""


def render_report(run: RunReport) -> str:
    """The page as HTML; every value is escaped."""
    return _render("report.html", run, autoescape=True)


def render_card(run: RunReport) -> str:
    """The model card as Markdown; no value can end its table cell or become markup."""
    return _render("model_card.md", run, autoescape=False)


def kept(epochs: Sequence[int], between: Sequence[Mapping[str, float]] = ()) -> str:
    """Which epochs' weights the model has, in words; first of `between` is the mean with those before all epochs."""
    said = f"weights the mean of {', '.join(map(str, sorted(epochs)))}" if len(epochs) > 1 else f"best {epochs[0]}"
    share = between[0]["share"] if between else 0
    return f"{said}, {share:g} of it and {1 - share:g} of what it began with" if share else said


def facts(run: RunReport) -> list[tuple[str, str]]:
    """How the model was made, as names and values."""
    modified = ", modified (bars promotion)" if run.data_modified else ""
    sides = ", ".join(f"{rows:,} {split}" for split, rows in run.split_rows.items())
    if run.rows_twins:
        sides += f", {run.rows_twins:,} twins (held-out rows that nearly are a row to learn from) on no side"
    return [
        ("base model", f"{run.base_model}, revision {run.base_model_revision}, sha256 {run.base_model_sha256}"),
        ("licence of the base model", run.base_model_licence),
        ("data", f"{run.data_path}, version {run.data_version}{modified}"),
        ("licence of the data", run.data_licence),
        ("rows", f"{run.rows_read:,} read, {run.rows_accepted:,} accepted, {run.rows_quarantined:,} quarantined"),
        ("split", sides),
        *([("target domain", run.target_domain)] if run.target_domain else []),
        *([("continued pre-training", run.pretraining)] if run.pretraining else []),
        ("strategy", run.strategy),
        *([("into the target domain", run.domain)] if run.domain else []),
        ("frozen", f"{run.frozen}; digest before and after training {run.frozen_sha256}"),
        ("training", f"{run.epochs} epochs, {kept(run.kept_epochs, run.between)}, {run.training_seconds:.0f} s"),
        *([("fairness", run.mended)] if run.mended else []),
        ("weights", f"sha256 {run.weights_sha256}"),
        *([("calibration", calibrated(run))] if CALIBRATION in run.scores else []),
        ("promotion policy", f"sha256 {run.policy_sha256}"),
        ("MLflow run", run.run_id),
    ]


def calibrated(run: RunReport) -> str:
    """The effect of the temperature, in words."""
    before, after = run.uncalibrated_scores[CALIBRATION], run.scores[CALIBRATION]
    return (
        f"temperature {run.temperature:.3f}, fitted on the {run.split_rows['validation']:,} validation rows; it changes"
        f" no label; {spelt(CALIBRATION)} on the held-out rows {_interval(before)} without it,"
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
