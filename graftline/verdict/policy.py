"""The promotion policy: what a candidate must show before it becomes champion. Read from `mlflow/promotion.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from graftline.digests import json_sha256
from graftline.errors import SettingsError
from graftline.evaluation.scoring import Scoring
from graftline.settings import Task
from graftline.settings.reading import read_section
from graftline.settings.sections import OptionalText, Section, Share

POLICY = "mlflow/promotion.yaml"

Effect = Literal["block", "advise"]
Baseline = Literal["tfidf", "frozen_head", "scratch"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
# Those that cost little beside a training; scratch costs as much as one, and is for those who ask for it.
USUAL_BASELINES: tuple[Baseline, ...] = ("tfidf", "frozen_head")
Margin = Annotated[float, Field(ge=0, le=1)]


class Floors(Section):
    """Lowest held-out scores with which a model may become champion."""

    accuracy: Share = 0.0
    """Share of rows whose label is right."""
    macro_f1: Share = 0.0
    """F1 averaged over the classes or labels, each with the same weight."""
    r2: Share = 0.0
    """Share of the variance that a regression explains."""

    def of(self, scoring: Scoring) -> dict[str, float]:
        """The floors under the scores of a task."""
        return {name: floor for name, floor in self.model_dump().items() if name in scoring.floors}


class Margins(Section):
    """By how much a score beside the main one may be worse than the champion's and still count as no worse."""

    accuracy: Margin = 0.03
    """Accuracy, where costs are the main score."""
    macro_f1: Margin = 0.03
    """Macro-F1, where accuracy is the main score."""
    micro_f1: Margin = 0.03
    """Micro-F1 of several labels."""
    subset_accuracy: Margin = 0.03
    """Share of the rows whose labels are all right."""
    calibration_error: Margin = 0.03
    """Expected calibration error."""
    losses: Margin = 0.1
    """Log loss, mean absolute error and root mean squared error have no common scale: as a share of the champion's."""

    def of(self, score: str, *, champion: float) -> float:
        """The margin of a score, where the champion has this one."""
        margins: dict[str, float] = self.model_dump()
        return margins[score] if score in margins else margins["losses"] * abs(champion)


class NegativeTransfer(Section):
    """By how much the main score must be better than what training without transfer reaches."""

    scratch: Margin = 0.0
    """Than the same architecture trained from random weights."""
    frozen_head: Margin = 0.0
    """Than a head solved on the untouched base model."""


class Limits(Section):
    """Limits of what answering may cost. Empty: no limit."""

    p95_milliseconds: Annotated[float, Field(gt=0)] | None = None
    """95th percentile of the time for one request, in milliseconds."""
    memory_megabytes: Annotated[float, Field(gt=0)] | None = None
    """Peak memory of the serving process, in megabytes."""


class Robustness(Section):
    """Which share of the answers must be right where the input was changed. Empty: reported only."""

    unchanged: Share | None = None
    """Answers that stay as they were, under each change that no label depends on."""
    directed: Share | None = None
    """Answers that move as evaluation.directions says."""


class Bias(Section):
    """How much differently the model may treat groups of people. Empty: reported only."""

    amplification: Margin | None = None
    """By how much a difference between groups, or a move by swapped words, may be larger than that of the frozen base
    model."""


class RetentionLimits(Section):
    """How much of the base model's source task may be forgotten. Empty: reported only."""

    forgotten: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """By how much a linear head on the adapted model's vectors may be right less often, on the rows of
    evaluation.probe, than one on the frozen base model's: in points of accuracy."""


class DistanceLimits(Section):
    """How far from home the rows to learn from may be. Empty: reported only."""

    a_distance: Annotated[float, Field(gt=0, lt=2)] | None = None
    """The largest proxy A-distance of the rows to learn from to those of evaluation.probe and of data.target_domain: 0
    where a linear classifier cannot tell which rows are which, 2 where it always can."""


class CostLimits(Section):
    """What answers may cost. Empty: reported only."""

    worse: Annotated[float, Field(ge=0)] | None = None
    """By how much an answer may cost more on average than the champion's on the same rows, by evaluation.costs. It has
    to be shown. Cheaper answers alone promote nothing, unless main_score says so."""


class Effects(Section):
    """Which axes of the verdict block a promotion, and which only advise. Floors, the champion, the fairness of the
    held-out rows and the data's version always block."""

    other_scores: Effect = "block"
    """No other score is worse than the champion's by more than its margin."""
    slices: Effect = "block"
    """No slice is worse than the champion's by more than the margin."""
    baseline: Effect = "block"
    """Better than what costs nothing."""
    negative_transfer: Effect = "block"
    """Better than without transfer."""
    interference: Effect = "block"
    """Of several targets none is worse than by the same training for it alone."""
    serving: Effect = "block"
    """Within the limits of time and memory."""
    hostile_requests: Effect = "block"
    """Whatever is sent to the model, it answers or refuses, and lives on."""
    robustness: Effect = "block"
    """Enough answers are right where the input was changed."""
    bias: Effect = "block"
    """No difference between groups was made larger."""
    target_domain: Effect = "block"
    """In the target domain no worse than a baseline, better than plain training, and fit beside the champion."""
    retention: Effect = "block"
    """No more of the source task was forgotten than the policy allows."""
    distance: Effect = "block"
    """The rows to learn from are no farther from home than the policy allows."""
    costs: Effect = "block"
    """Answers cost no more than the champion's by the policy's margin."""


class Policy(Section):
    """All that a candidate must show before it becomes champion."""

    floors: Floors = Floors()
    wanted_difference: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    """The improvement of the main score that is worth finding. It is what row counts are computed for; a smaller one
    that was shown is promoted, too."""
    significance: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    """Level of the tests against the champion, two-sided: half of it is the chance that a model without any true
    improvement is promoted."""
    false_promotions: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    """The chance that anything that is no better is promoted in the whole life of the held-out rows, however many
    candidates are compared on them. The level of a test is never above `significance`, and falls with each look at the
    same rows; rows that no look has seen bring their evidence whole."""
    planned_looks: Annotated[int, Field(ge=1, le=10_000)] = 365
    """For how many candidates on the same rows that chance is to last. Afterwards hardly anything can be shown on
    them."""
    main_score: Literal["task", "costs"] = "task"
    """What has to be better than the champion's, and than that of the baselines. task: the task's main score. costs:
    what answers cost by evaluation.costs; wanted_difference is then in costs, the task's main score must be no worse by
    its margin like every other score, and baselines answer what they can expect to cost least."""
    improvement: Literal["held_out", "target_domain"] = "held_out"
    """Where the main score has to be shown better than the champion's. target_domain: on the rows of
    evaluation.target_rows, for a model that is to work there; on the held-out rows of the data it must then be no worse
    by slice_margin. held_out: the other way round. Looks are counted at the rows that decide."""
    slice_margin: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """A slice is no worse than the champion's if it was shown to lose no more than this: in points of accuracy, of
    labels that are right, or of explained variance."""
    smallest_slice: Annotated[int, Field(ge=10)] = 200
    """Slices with fewer held-out rows are shown, not judged: chance alone moves them by more than the margin."""
    margins: Margins = Margins()
    main_target: OptionalText = None
    """Of several targets the one that has to be better than the champion's. Empty: any of them, each tested at its
    share of the level (Holm 1979)."""
    target_margin: Margin = 0.03
    """By how much the main score of a target may be worse than the champion's, or than that of the same training for it
    alone, and still count as no worse."""
    baselines: tuple[Baseline, ...] = USUAL_BASELINES
    """Rivals that the main score must beat beside the most frequent label or the mean. tfidf: a linear model on the
    words, for texts. frozen_head: a head solved on the untouched base model. scratch: the same architecture from random
    weights, with the same rows, epochs and batches, which costs as much as the training: only where it stands here.
    Each is computed once for all runs on the same data and base model. tfidf or frozen_head left out leaves its axis
    unknown."""
    negative_transfer: NegativeTransfer = NegativeTransfer()
    limits: Limits = Limits()
    robustness: Robustness = Robustness()
    bias: Bias = Bias()
    retention: RetentionLimits = RetentionLimits()
    distance: DistanceLimits = DistanceLimits()
    costs: CostLimits = CostLimits()
    effects: Effects = Effects()
    approval_within_hours: Annotated[float, Field(gt=0, le=24 * 90)] | None = None
    """A candidate that would be promoted is held until a person approves, and stays held without an answer in so many
    hours. Empty: the verdict is enough."""

    @model_validator(mode="after")
    def _what_has_a_margin_is_computed(self) -> "Policy":
        if self.negative_transfer.scratch and "scratch" not in self.baselines:
            raise ValueError(
                f"negative_transfer.scratch {self.negative_transfer.scratch:g} without scratch among the baselines, so"
                " that it would be compared with nothing; add it there, or set the margin to 0"
            )
        return self

    @model_validator(mode="after")
    def _costs_are_those_of_held_out_rows(self) -> "Policy":
        if self.main_score == "costs" and self.improvement != "held_out":
            raise ValueError(
                f"main_score costs with improvement {self.improvement}: costs are compared on the held-out rows of the"
                " data; set improvement to held_out, or main_score to task"
            )
        return self

    @property
    def sha256(self) -> str:
        """The digest by which a decision's record names it."""
        return json_sha256(self.model_dump(mode="json"))

    def require_target(self, targets: Sequence[str]) -> None:
        """Raises: SettingsError for a main target that is none of these."""
        if self.main_target is not None and self.main_target not in targets:
            raise SettingsError(
                f"{POLICY}: main_target {self.main_target!r} is no target of these data, expected one of"
                f" {', '.join(targets)} (data.target and data.targets); correct it or leave it empty"
            )

    def require_fit(self, task: Task, scoring: Scoring) -> None:
        """Raises: SettingsError for a floor under a score that the task has not."""
        for name, floor in self.floors.model_dump().items():
            if floor and name not in scoring.floors:
                raise SettingsError(
                    f"{POLICY}: floors.{name} {floor}: data.task {task} has no such score, expected"
                    f" {' or '.join(scoring.floors)}; remove it or set it to 0"
                )


def read_policy(path: Path) -> Policy:
    """The policy in a file; without the file the default one.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return read_section(path, Policy, such_as="floors", verb="policy")
