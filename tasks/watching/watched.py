"""A champion under watch: its reference, its looks so far, and the looks that are due."""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from graftline.errors import DataRefusedError, SettingsError
from graftline.settings import Settings
from graftline.tasks.registry.named import NamedVersion, VersionName, find_named
from graftline.tasks.registry.versions import CHAMPION
from graftline.tasks.serving.request_log import read_served, served_days
from graftline.tasks.state.folders import FOREVER_SECONDS
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.watching.feedback import read_feedback
from graftline.tasks.watching.held_out import judged_rows
from graftline.tasks.watching.kept_looks import ImaginedLooks, KeptLooks, Look, room_of
from graftline.tasks.watching.looking import DAY, Served, look_at
from graftline.tasks.watching.reference import Reference, reference_of
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

# A request has the day on which it came; it may take ten minutes, and its rows may wait an hour for the next file.
LATE_HOURS = 2

logger = logging.getLogger("graftline.watch")


@dataclass(frozen=True)
class Watched:
    """A champion after a watch."""

    version: NamedVersion
    reference: Reference
    looks: list[Look]
    """All of them, the new ones last."""
    new: list[Look]


def watch_champion(workspace: Workspace, settings: Settings, model: str, until: date, *, margin: float) -> Watched:
    """Have the looks that are due at the rows that the champion answered, each day once.

    Raises: RegistryRefusedError if there is no champion, or it was trained on another split; DataRefusedError if
    nothing of it was logged.
    """
    require_over(until)
    version = find_named(workspace, VersionName(model, CHAMPION))
    run_id = str(version.version.run_id)
    # Whoever comes second finds the looks of the first.
    with room_of(workspace, model).alone("", FOREVER_SECONDS):
        looks = KeptLooks(workspace, model, version.number, run_id)
        served = served_by(workspace, model, version, until)
        reference = looks.reference()
        if reference is None:
            reference = _new_reference(workspace, settings, version)
            looks.keep_reference(reference)
        new = look_at(served, reference, read_feedback(workspace, settings.data), looks, margin=margin)
    return Watched(version, reference, looks.records, new)


def imagine_watch(
    workspace: Workspace, settings: Settings, version: NamedVersion, first: date, last: date, *, margin: float
) -> Watched:
    """The looks that a past period would have had at the rows that a version answered; nothing is kept."""
    require_over(last)
    looks = ImaginedLooks()
    reference = reference_for(workspace, settings, version)
    served = Served(first, last, lambda day: rows_of_day(workspace, version, day))
    look_at(served, reference, read_feedback(workspace, settings.data), looks, margin=margin)
    return Watched(version, reference, looks.records, looks.records)


def reference_for(workspace: Workspace, settings: Settings, version: NamedVersion) -> Reference:
    """That of the looks at a version so far, or a new one that nobody keeps. Raises: what `watch_champion` raises."""
    kept = KeptLooks(workspace, version.model, version.number, str(version.version.run_id))
    return kept.reference() or _new_reference(workspace, settings, version)


def served_by(workspace: Workspace, model: str, version: NamedVersion, until: date) -> Served:
    """The rows that a version answered. Raises: DataRefusedError if there is no log of the model."""
    days = [day for day in served_days(workspace, model) if day <= until]
    if not days:
        raise DataRefusedError(
            f"{model}: nothing was logged until {until}, expected files in artifacts/served/{model}/DAY; serve it with"
            " `graftline serve`, or name a later day with --until"
        )
    return Served(min(days), until, lambda day: rows_of_day(workspace, version, day))


def require_over(day: date) -> None:
    """Raises: SettingsError for a day of which more rows may come."""
    if day > (newest := newest_over(datetime.now(UTC))):
        raise SettingsError(
            f"{day}: is not over yet, or not for {LATE_HOURS} hours, in which servers still write its rows, and each"
            f" day is looked at once; name {newest} (UTC) or an earlier one"
        )


def newest_over(now: datetime) -> date:
    """The newest day, of UTC, of which no more rows come."""
    return (now - timedelta(hours=LATE_HOURS)).astimezone(UTC).date() - DAY


def rows_of_day(workspace: Workspace, version: NamedVersion, day: date) -> "pa.Table":
    """The rows that a version answered on a day of UTC."""
    import pyarrow.compute as pc

    begin = datetime.combine(day, time.min, UTC)
    table = read_served(workspace, version.model, begin, begin + timedelta(days=1))
    return table.filter(pc.equal(table["run_id"], str(version.version.run_id))) if len(table) else table


def _new_reference(workspace: Workspace, settings: Settings, version: NamedVersion) -> Reference:
    logger.info("watch: asking %s for the held-out rows, in a process of its own", version)
    with noting_uses(workspace, settings.registry.model), judged_rows(workspace, settings, version) as held_out:
        return reference_of(workspace, settings, held_out, version)
