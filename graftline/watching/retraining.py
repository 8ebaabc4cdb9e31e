"""The retraining policy: which events start a candidate, and how often. Read from `mlflow/retraining.yaml`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from graftline.digests import json_sha256
from graftline.settings.reading import read_section
from graftline.settings.sections import Section, Share

RETRAINING = "mlflow/retraining.yaml"

Trigger = Literal["input_drift", "answer_drift", "score_drop", "new_data_version", "schedule"]
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
WEEK = timedelta(days=7)


class RetrainingPolicy(Section):
    """What starts a candidate by itself. Nothing here promotes one."""

    triggers: tuple[Trigger, ...] = ("new_data_version",)
    """What starts a candidate. input_drift, answer_drift and score_drop: the alarms of `graftline watch`.
    new_data_version: a pushed data.dvc that names other data. schedule: so many days after the last candidate. The same
    rows give nearly the same model: a drift alone, without new rows, seldom helps. Empty: nothing is started."""
    schedule_days: Annotated[float, Field(gt=0, le=3650)] = 30
    """How many days after the last candidate the trigger schedule comes."""
    least_days: Annotated[float, Field(ge=0, le=3650)] = 7
    """Days from the start of one candidate to that of the next, whatever happens meanwhile."""
    hours_a_week: Annotated[float, Field(ge=0, le=168)] = 24
    """How many hours candidates may take in any seven days. One starts if the median of the past ones still fits."""
    most_waiting: Annotated[int, Field(ge=1, le=100)] = 1
    """How many candidates may wait for approval, or be under way, at once; another is not started meanwhile."""
    score_margin: Share = 0.02
    """How far the true score may lie below that of the held-out rows, which are never quite like those that are served,
    before `graftline watch` counts it as a drop."""

    @property
    def sha256(self) -> str:
        """The digest by which a result names it."""
        return json_sha256(self.model_dump(mode="json"))


def read_retraining(path: Path) -> RetrainingPolicy:
    """The policy in a file; without the file the default one.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return read_section(path, RetrainingPolicy, such_as="triggers", verb="retraining")


@dataclass(frozen=True)
class Event:
    """Something that may call for a candidate."""

    trigger: Trigger
    when: datetime
    what: str
    """In words."""


@dataclass(frozen=True)
class Candidate:
    """A candidate that was started, by whomever."""

    started: datetime
    hours: float | None
    """How long it took; None as long as it is under way."""
    waits: bool = False
    """Whether it waits for a person's word."""


@dataclass(frozen=True)
class Choice:
    """Whether a candidate is started now."""

    start: bool
    reasons: tuple[str, ...]
    """What calls for it, or what stands in the way."""


def decide(policy: RetrainingPolicy, events: Sequence[Event], past: Sequence[Candidate], now: datetime) -> Choice:
    """Whether a candidate is started at `now`, from all events and candidates so far.

    An event is answered by the first candidate that is started after it.
    """
    last = max((one.started for one in past), default=None)
    open_events = [one for one in events if one.when <= now and (last is None or one.when > last)]
    if last is None or now >= last + timedelta(days=policy.schedule_days):
        age = f"the last candidate is {(now - last).days} days old" if last else "there was no candidate yet"
        open_events += [Event("schedule", now, age)] if "schedule" in policy.triggers else []
    calls = [f"{one.trigger}: {one.what}" for one in open_events if one.trigger in policy.triggers]
    if not calls:
        ignored = sorted({one.trigger for one in open_events})
        return Choice(False, (f"the policy does not start on {', '.join(ignored)}" if ignored else "nothing happened",))
    bars = [*_bars(policy, past, last, now)]
    return Choice(False, (*bars, *calls)) if bars else Choice(True, tuple(calls))


def expected_hours(past: Sequence[Candidate]) -> float | None:
    """What the next candidate will take, by the past ones: their median; None if none has ended."""
    known = sorted(one.hours for one in past if one.hours is not None)
    return known[len(known) // 2] if known else None


def _bars(policy: RetrainingPolicy, past: Sequence[Candidate], last: datetime | None, now: datetime) -> Sequence[str]:
    found = []
    if last is not None and now < last + timedelta(days=policy.least_days):
        found.append(
            f"least_days {policy.least_days:g}: the last candidate was started {(now - last) / timedelta(days=1):.1f}"
            " days ago"
        )
    open_ones = sum(one.waits or one.hours is None for one in past)
    if open_ones >= policy.most_waiting:
        found.append(f"most_waiting {policy.most_waiting}: {open_ones} under way or waiting for approval")
    next_one = expected_hours(past) or 0.0
    spent = sum(_hours_until(one, now, next_one) for one in past if now - WEEK < one.started <= now)
    if spent + next_one > policy.hours_a_week:
        found.append(
            f"hours_a_week {policy.hours_a_week:g}: {spent:.1f} spent in seven days, and the next one takes about"
            f" {next_one:.1f}"
        )
    return found


def _hours_until(one: Candidate, now: datetime, expected: float) -> float:
    """What a candidate took; one that is under way will take as long as the others did, or already took longer."""
    return max(expected, (now - one.started) / timedelta(hours=1)) if one.hours is None else one.hours
