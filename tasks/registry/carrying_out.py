"""Writing a decision down and carrying it out, so that a kill at any point is mended by the next command."""

import logging
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from graftline.errors import GraftlineError, RegistryRefusedError
from graftline.tasks.registry.binding import bound_but_pages
from graftline.tasks.registry.history import (
    deciding,
    has_drafts,
    is_carried_out,
    marks,
    newest_move,
    next_record,
    note_carried_out,
    place_of,
    read_history,
    record_names,
    remove_drafts,
    require_still_deciding,
    write_record,
)
from graftline.tasks.registry.noted import Versions, note_faults
from graftline.tasks.registry.ownership import require_known
from graftline.tasks.registry.records import WITH_RUN, Entry, Record
from graftline.tasks.registry.signing import signer_for
from graftline.tasks.registry.versions import (
    CHAMPION,
    NAME,
    Notes,
    announce,
    champion_of,
    delete_version,
    get_version,
    note_newest,
    note_verdict,
    notes_in,
    notes_of,
    set_champion,
    shown,
    verdict_of,
    versions_of,
)
from graftline.tasks.registry.witnessing import asking, give, is_owed, require_witnessed
from graftline.tasks.tracking.server import client, if_there, tracking_uri
from graftline.tasks.tracking.stored_model import stored_model
from graftline.tasks.workspace import Workspace

# An answer that was given in time may take a while to arrive: a worker has to start.
LATE_SECONDS = 600

logger = logging.getLogger("graftline.registry")


def append(workspace: Workspace, model: str, records: list[Record], entry: Entry) -> Record:
    """Write an entry as the next record, give its digest to the witnesses, and carry it out.

    A kill after any of these lines is mended by `settled`, and a witness that is away is given the digest later.
    Raises: RegistryRefusedError if a witness knows another history.
    """
    record = next_record(records, replace(entry, model=model), signer_for(workspace, model, records))
    with asking(workspace, model) as witnesses:
        require_witnessed(workspace, model, witnesses, records)
        require_still_deciding(model)
        announce(model, record)
        write_record(workspace, model, record)
        require_still_deciding(model)  # an older note over a newer one would look like records added by somebody
        note_newest(model, record)
        give(workspace, model, witnesses, [*records, record])
    _carry_out(workspace, model, record)
    return record


def _carry_out(workspace: Workspace, model: str, record: Record) -> None:
    if record.moves and record.champion_after is not None:
        require_still_deciding(model)
        set_champion(model, record.champion_after)
    if record.action in ("verdict", "approval"):
        note_verdict(model, record)
    if record.action == "remove":
        delete_version(model, record)
    note_carried_out(workspace, model, record)


def entry_of(record: Record) -> Entry:
    """The content of a record, to be decided about anew."""
    return Entry(**{field.name: getattr(record, field.name) for field in fields(Entry)})


def settled(workspace: Workspace, model: str) -> list[Record]:
    """The history, finished and checked. Only while no one else decides."""
    remove_drafts(workspace, model)
    records = read_history(workspace, model)
    versions = versions_of(model)
    notes = notes_of(model)
    if faults := note_faults(records, notes, versions):
        require_known(workspace, model)
        raise RegistryRefusedError(
            f"{model}: {'; '.join(str(fault) for fault in faults)}; restore {place_of(workspace, model)} from a"
            " backup before deciding anything"
        )
    if _is_not_noted(records, notes):
        _require_model(workspace, model, records)
        require_still_deciding(model)
        note_newest(model, records[-1])
    newest, carried_out = newest_move(records), marks(workspace, model)
    for record in records:
        if not carried_out.get(record.number) and not record.moves:
            _carry_out(workspace, model, record)
    if newest is not None:
        _settle_move(workspace, model, newest)
    return _with_missed_deadlines(workspace, model, records, versions)


def _require_model(workspace: Workspace, model: str, records: list[Record]) -> None:
    if not if_there(lambda: client().get_registered_model(model), model):
        raise RegistryRefusedError(
            f"{model}: {place_of(workspace, model)} holds {len(records)} records, but the registry has no such model:"
            " it was lost, or is another one; restore it from a backup, or name the right one with MLFLOW_TRACKING_URI;"
            " if there is none, move that folder to where you keep such things, and a new history begins"
        )


def _is_not_noted(records: list[Record], notes: Notes) -> bool:
    """Whether the registry does not know of the newest record yet."""
    return (
        bool(records) and records[-1].form >= WITH_RUN and (notes.newest is None or notes.newest.number < len(records))
    )


def read_settled(workspace: Workspace, model: str) -> tuple[list[Record], int | None] | None:
    """The history, checked, and the champion, both read without MLflow, which takes seconds to import.

    None where MLflow is needed: because there is something to finish or to report, or the registry is none that can be
    read without it, or has no such model.
    Raises: RegistryRefusedError if a record was edited or is missing.
    """
    if not NAME.fullmatch(model) or not record_names(workspace, model):
        return None
    with deciding(workspace, model):
        stored = stored_model(tracking_uri(workspace), model)
        if stored is None or has_drafts(workspace, model):
            return None
        records, notes = read_history(workspace, model), notes_in(model, stored.tags)
        if not records or note_faults(records, notes, stored.versions) or _is_not_noted(records, notes):
            return None
        champion, newest = stored.aliases.get(CHAMPION), newest_move(records)
        to_do, carried_out = [one for one in records if not one.moves or one is newest], marks(workspace, model)
        if not all(carried_out.get(record.number) for record in to_do):
            return None
        if champion != (newest.champion_after if newest else None) or not {champion} <= {None, *stored.versions}:
            return None
        if any(_is_missed(asked) for asked in questions(records, stored.versions)):
            return None
        if is_owed(workspace, model, len(records)):
            return None
        return records, champion


def _settle_move(workspace: Workspace, model: str, newest: Record) -> None:
    actual, carried_out = champion_of(model), is_carried_out(workspace, model, newest)
    if actual != newest.champion_after and (carried_out or actual != newest.champion_before):
        logger.warning(
            "%s: the champion is %s, but by the history %s: the alias was moved outside of Graftline; left as it is",
            model,
            shown(actual),
            shown(newest.champion_after),
        )
    elif not carried_out:
        logger.warning("%s: finishing the %s to version %d", model, newest.action, newest.version)
        get_version(model, newest.version)
        _carry_out(workspace, model, newest)


def _with_missed_deadlines(workspace: Workspace, model: str, records: list[Record], versions: Versions) -> list[Record]:
    """Record of each version that waited for an approval in vain that it did."""
    for asked in questions(records, versions):
        if _is_missed(asked):
            try:
                records = [*records, append(workspace, model, records, without_answer(asked, champion_of(model)))]
            except GraftlineError as error:  # whoever only reads the history need not have the key to write it
                logger.warning(
                    "%s version %d: no answer by %s; not recorded: %s", model, asked.version, asked.due, error
                )
    return records


def questions(records: list[Record], versions: Versions) -> list[Record]:
    """The verdicts that wait for a person's answer, or waited in vain."""
    present = (verdict_of(records, version) for version in versions.values())
    return [record for record in present if record and record.due]


def _is_missed(asked: Record) -> bool:
    missed = (datetime.now(UTC) - timedelta(seconds=LATE_SECONDS)).isoformat(timespec="seconds")
    return asked.due is not None and asked.due < missed


def without_answer(asked: Record, champion: int | None) -> Entry:
    """That nobody answered in time: the version stays on HOLD."""
    reasons = (f"no answer by {asked.due}", *asked.reasons)
    return replace(
        entry_of(asked),
        action="approval",
        champion_before=champion,
        champion_after=champion,
        why="; ".join(reasons),
        reasons=reasons,
        due=None,
        bound=bound_but_pages(asked.bound),
    )
