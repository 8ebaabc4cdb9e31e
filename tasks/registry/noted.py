"""Whether the records that lie in the project folder are those that the registry knows of."""

from collections.abc import Mapping

from graftline.tasks.registry.findings import Finding
from graftline.tasks.registry.records import WITH_RUN, Record
from graftline.tasks.registry.versions import Notes, Registered, is_of

Versions = Mapping[int, Registered]


def note_faults(records: list[Record] | list[Record | None], notes: Notes, versions: Versions) -> list[Finding]:
    """Where the records are not those that the registry knows. A record may be None where its file is unreadable."""
    count = len(records)
    last = records[-1] if records else None
    announced = (
        notes.announced is not None
        and last is not None
        and (notes.announced.number, notes.announced.sha256) == (count, last.sha256)
    )
    if notes.newest is None:
        return _without_note(records, versions, announced=announced)
    newest = notes.newest
    if newest.number > count:
        return [Finding(number, "was removed") for number in range(count + 1, newest.number + 1)]
    known = records[newest.number - 1]
    faults = []
    if known is not None and known.sha256 != newest.sha256:
        faults.append(Finding(newest.number, "is not the one that the registry knows: it was edited or replaced"))
    # One that was announced is Graftline's own: a kill came before the registry knew of it.
    added = range(newest.number + 1, count + (0 if announced and newest.number == count - 1 else 1))
    return faults + [Finding(number, "was added outside of Graftline") for number in added]


def _without_note(records: list[Record] | list[Record | None], versions: Versions, *, announced: bool) -> list[Finding]:
    present = [record for record in records if record is not None and record.form >= WITH_RUN]
    if not present or (announced and len(present) == 1):
        return []  # nothing was written since the registry takes notes
    if any(is_of(record, versions[record.version]) for record in present if record.version in versions):
        return [Finding(None, "the registry's note of the newest record was removed")]
    return []  # another registry: it never had one
