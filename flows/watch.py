"""`graftline watch NAME`: is what is served still what the champion was judged on?"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.flows.console import show_progress
from graftline.flows.events import AlarmRaised, tell_alarms
from graftline.flows.notifying import notify, tell_failure
from graftline.flows.run_page import Result, Told, told
from graftline.settings import PARAMS, Settings, read_settings
from graftline.settings.sections import OptionalText
from graftline.tasks.registry.named import NamedVersion
from graftline.tasks.registry.versions import versions_of
from graftline.tasks.serving.request_log import read_served
from graftline.tasks.step import require_servers
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.tracking.server import connect
from graftline.tasks.watching.candidates import alarm_events, data_events, end_of, past_candidates
from graftline.tasks.watching.kept_looks import Look
from graftline.tasks.watching.page import estimate_in_words, log_looks, score_in_words, write_page
from graftline.tasks.watching.watched import Watched, imagine_watch, newest_over, require_over, watch_champion
from graftline.tasks.workspace import Workspace
from graftline.watching.looks import LEAST_ROWS
from graftline.watching.retraining import (
    RETRAINING,
    Candidate,
    Event,
    RetrainingPolicy,
    decide,
    expected_hours,
    read_retraining,
)


def of_watch(result: Result) -> Told:
    """A watch by its alarms."""
    model, alarms = str(result["model"]), result["alarms"]
    word = "ALARM" if alarms else "no alarm"
    return Told(f"watch {model} v{result['version']} {word}", (model,), str(result["answer"]))


@flow(name="watch", flow_run_name="watch {name}", persist_result=False, on_failure=[tell_failure])
@told(of_watch)
def watch(
    name: str, until: OptionalText = None, policy: str = RETRAINING, params: str = PARAMS
) -> dict[str, JsonValue]:
    """Look at what the champion answered, a look per day that is over, and raise an alarm where something has changed.

    Args:
        name: The registered model.
        until: The last day to look at (UTC), YYYY-MM-DD. Empty: yesterday, two hours after midnight.
        policy: The file with the retraining policy.
        params: The settings file.
    """
    workspace, settings = Workspace(Path.cwd()), read_settings(Path(params))
    last = day_of(until) if until else newest_over(datetime.now(UTC))
    with show_progress():
        require_servers(workspace)
        connect(workspace)
        margin = read_retraining(Path(policy)).score_margin
        watched = watch_champion(workspace, settings, name, last, margin=margin)
        if not watched.looks:
            return _nothing_yet(name, watched, last)
        page = write_page(workspace, watched.reference.about, watched.looks)
        run_id = log_looks(workspace, watched.reference.about, watched.looks, page)
        raised = raised_by(watched.new)
        tell_alarms(name, watched.version.number, raised, page)
        if raised:
            told_of = ", ".join(f"{one.signal.replace('_', ' ')} on {one.day}" for one in raised)
            notify("alarm", str(watched.version), told_of)
    return _result(name, watched, page, run_id)


def simulate(root: Path, settings: Settings, name: str, first: str, last: str, policy: Path) -> dict[str, JsonValue]:
    """What the policy would have started in a past period, when, why, and at what cost; nothing is kept or started.

    A plain function: a flow would start a server for it.
    """
    workspace, period = Workspace(root), (day_of(first), day_of(last))
    if period[0] > period[1]:
        raise SettingsError(f"--simulate {first} {last}: the first day is the later one; name it first")
    require_over(period[1])
    connect(workspace)
    rules, notes = read_retraining(policy), list[str]()
    events = data_events(root, pointer_of(settings.data.folder), *period)
    for version in _answered_in(workspace, name, period, notes):
        watched = imagine_watch(workspace, settings, version, *period, margin=rules.score_margin)
        events += alarm_events(watched.looks)
    before = [one for one in past_candidates(workspace, name) if one.started < end_of(period[0] - timedelta(days=1))]
    return _replayed(name, rules, sorted(events, key=lambda one: one.when), before, period, notes)


def day_of(text: str) -> date:
    """Raises: SettingsError for what is no day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no day, expected one such as 2026-11-30") from None


def raised_by(looks: Sequence[Look]) -> list[AlarmRaised]:
    """The alarms that these looks raised themselves."""
    numbers = {look.number for look in looks}
    return [
        AlarmRaised(signal, number, next(look.last for look in looks if look.number == number))
        for signal, number in sorted(looks[-1].alarms.items() if looks else [])
        if number in numbers
    ]


def _answered_in(workspace: Workspace, name: str, period: tuple[date, date], notes: list[str]) -> list[NamedVersion]:
    """The versions that answered in a period, as far as the registry still has them."""
    table = read_served(workspace, name, end_of(period[0] - timedelta(days=1)), end_of(period[1]))
    answered = set(map(str, table["run_id"].to_pylist()))
    known = {str(version.run_id): version for version in versions_of(name).values()}
    if gone := sorted(answered - known.keys()):
        notes.append(f"{len(gone)} versions that answered then are not in the registry; their rows are left out")
    return [NamedVersion(name, int(known[run].version), None, known[run]) for run in sorted(answered & known.keys())]


def _replayed(
    name: str,
    rules: RetrainingPolicy,
    events: Sequence[Event],
    before: Sequence[Candidate],
    period: tuple[date, date],
    notes: Sequence[str],
) -> dict[str, JsonValue]:
    """Day by day what the policy decides, each candidate taking as long as the past ones did."""
    past, started, waited = list(before), list[tuple[date, tuple[str, ...]]](), dict[str, date]()
    hours = expected_hours([one for one in past if one.hours is not None])
    day = period[0]
    while day <= period[1]:
        now = end_of(day)
        choice = decide(rules, [one for one in events if one.when <= now], _settled(past), now)
        if choice.start:
            started.append((day, choice.reasons))
            past.append(Candidate(now, hours or 0.0))
        elif len(choice.reasons) > 1:
            waited.setdefault(choice.reasons[0].partition(" ")[0], day)
        day += timedelta(days=1)
    cost = None if hours is None else hours * len(started)
    lines = [f"{when}  would start a candidate: {'; '.join(reasons)}" for when, reasons in started]
    lines += [f"{when}  would wait for the first time: {bar}" for bar, when in waited.items()]
    told = f"{cost:.1f} hours" if cost is not None else "no past run says how long one takes"
    lines.append(f"{period[0]} to {period[1]}: {len(events)} events, {len(started)} candidates, {told}")
    return {
        "model": name,
        "policy_sha256": rules.sha256,
        "events": [{"trigger": one.trigger, "when": one.when.isoformat(), "what": one.what} for one in events],
        "started": [{"day": str(when), "reasons": list(reasons)} for when, reasons in started],
        "hours_each": hours,
        "hours": cost,
        "notes": list(notes),
        "summary": "\n".join([*lines, *(f"note: {note}" for note in notes)]),
    }


def _settled(past: Sequence[Candidate]) -> list[Candidate]:
    """In a replay nobody waits: who would have answered, and when, is not known."""
    return [Candidate(one.started, one.hours or 0.0) for one in past]


def _result(name: str, watched: Watched, page: Path, run_id: str) -> dict[str, JsonValue]:
    newest = watched.looks[-1]
    last_of = {look.number: look.last for look in watched.looks}
    standing: dict[str, JsonValue] = {signal: str(last_of[number]) for signal, number in newest.alarms.items()}
    alarms = [f"{signal.replace('_', ' ')} since {day}" for signal, day in standing.items()]
    answer = f"{watched.version}: {'ALARM: ' + ', '.join(alarms) if alarms else 'no alarm'}, until {newest.last}"
    facts = [
        answer,
        f"{len(watched.new)} new looks of {len(watched.looks)}, at {sum(look.rows for look in watched.new):,} rows",
        f"promised {newest.promised:.4f}; true {score_in_words(newest) or 'not known, no labels yet'}",
        *([f"estimated without labels {estimate_in_words(newest)}"] if newest.estimated is not None else []),
        *([f"note: {note}"] if (note := watched.reference.about.note) else []),
        f"page: {page}",
    ]
    score = newest.score
    evidence: dict[str, JsonValue] = {signal: one.evidence.capital for signal, one in newest.signals.items()}
    return {
        "model": name,
        "version": watched.version.number,
        "until": str(newest.last),
        "looks": len(watched.looks),
        "new_looks": len(watched.new),
        "alarms": standing,
        "evidence": evidence,
        "p": {signal: one.p for signal, one in newest.tested.items()},
        "promised": newest.promised,
        "score": None if score is None else {"value": score.value, "low": score.low, "high": score.high},
        "estimated": newest.estimated,
        "estimated_error": newest.estimated_error,
        "run_id": run_id,
        "note": watched.reference.about.note,
        "page": str(page),
        "answer": answer,
        "summary": "\n".join(facts),
    }


def _nothing_yet(name: str, watched: Watched, last: date) -> dict[str, JsonValue]:
    answer = f"{watched.version}: until {last} it answered fewer than {LEAST_ROWS} rows; nothing to be seen yet"
    return {
        "model": name, "version": watched.version.number, "until": str(last), "looks": 0, "new_looks": 0, "alarms": {},
        "answer": answer, "summary": answer,
    }  # fmt: skip
