"""What this project tells a Prefect server beside its runs: events, which automations go by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from graftline.tasks.watching.candidates import trigger_of
from graftline.watching.looks import Signal

ALARM = "graftline.alarm"
# A champion that somebody moved past the gate.
MOVED = "graftline.champion.moved"


@dataclass(frozen=True)
class AlarmRaised:
    """An alarm, when it is raised."""

    signal: Signal
    look: int
    day: date

    @property
    def event(self) -> str:
        """graftline.alarm.input_drift, graftline.alarm.answer_drift or graftline.alarm.score_drop."""
        return f"{ALARM}.{trigger_of(self.signal)}"


def tell_alarms(model: str, version: int, alarms: Sequence[AlarmRaised], page: Path) -> None:
    """An event per alarm, with the model as its resource."""
    for one in alarms:
        emit(
            one.event,
            model,
            {"signal": one.signal, "version": version, "look": one.look, "day": str(one.day), "page": str(page)},
        )


def resource_of(model: str) -> str:
    """What Prefect calls a model."""
    return f"graftline.model.{model}"


def emit(event: str, model: str, payload: Mapping[str, str | int]) -> None:
    """Tell the server that PREFECT_API_URL names; nobody where there is none."""
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return
    emit_event(
        event,
        resource={"prefect.resource.id": resource_of(model), "prefect.resource.name": model},
        payload=dict(payload),
    )
    # Sent in the background, and this process may end at once.
    EventsWorker.instance().wait_until_empty()
