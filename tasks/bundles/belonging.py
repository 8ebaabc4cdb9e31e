"""Whether the parts of a bundle belong together: records to each other, and to the verdict's record all it rests on."""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from graftline.digests import canonical_json
from graftline.errors import BundleRefusedError
from graftline.pages.text import visible
from graftline.tasks.bundles.form import Statement, Verdict, subjects_of
from graftline.tasks.bundles.grounds import EVALUATION, POLICY, REPORT, Numbers, Provenance, evaluation_sha256
from graftline.tasks.registry.binding import (
    FILE,
    POLICY_SHA256,
    SPLIT_SHA256,
    TAG,
    TEST_SHA256,
    bound_files,
    text_sha256,
)
from graftline.tasks.registry.history import copied_from
from graftline.tasks.registry.records import Record, parse_record
from graftline.tasks.registry.signing import Signing
from graftline.tasks.registry.verification import chain_faults
from graftline.tasks.registry.versions import DATA_VERSION

JUDGING = ("verdict", "approval")


def records_of(verdict: Verdict) -> list[Record]:
    """The records of a bundle. Raises: BundleRefusedError if one is none, or the verdict's is not among them."""
    records = []
    for number, text in enumerate(verdict.history, start=1):
        try:
            record = parse_record(text.encode())
        except (ValueError, RecursionError):
            raise BundleRefusedError(f"what stands in it as record {number} is none") from None
        if record.number != number or canonical_json(record.plain()) != text.encode():
            raise BundleRefusedError(f"its record {number} was edited, or stands in the place of another")
        records.append(record)
    if verdict.record > len(records):
        raise BundleRefusedError(f"it rests on record {verdict.record}, but holds {len(records)} records")
    return records


def faults_of(
    statement: Statement, records: list[Record], signing: Signing, numbers: Numbers, provenance: Provenance
) -> Iterator[str]:
    """All that does not belong together, each as part of a sentence."""
    yield from _history_faults(statement.predicate, records, signing)
    yield from _verdict_faults(statement.predicate, records)
    yield from _bound_faults(statement, records[statement.predicate.record - 1])
    yield from _stated_faults(statement.predicate, numbers, provenance)


def _history_faults(verdict: Verdict, records: list[Record], signing: Signing) -> Iterator[str]:
    yield from (f"its {finding}" for finding in chain_faults(records))
    for place, record in enumerate(records):
        for fault in (copied_from(record, verdict.model), signing.fault(verdict.model, record, records[:place])):
            if fault:
                yield f"its record {record.number} {visible(fault)}"


def _verdict_faults(verdict: Verdict, records: list[Record]) -> Iterator[str]:
    record = records[verdict.record - 1]
    if record.action not in JUDGING or record.version != verdict.version or record.model != verdict.model:
        yield f"its record {record.number} is no verdict on {visible(verdict.model)} version {verdict.version}"
    for later in records[verdict.record :]:
        if later.action in JUDGING and (later.version, later.run_id) == (record.version, record.run_id):
            yield f"its record {later.number} says another verdict on that version than record {record.number}"


def _bound_faults(statement: Statement, record: Record) -> Iterator[str]:
    verdict = statement.predicate
    if record.files is None or record.bound is None:
        yield f"its record {record.number} is an earlier release's, which binds no files"
        return
    if statement.subject != subjects_of(record.files):
        yield f"the files that it is about are not those of its record {record.number}"
    contained = {f"{TAG}{name}": text_sha256(value) for name, value in verdict.tags.items()}
    contained |= bound_files({name: text.encode() for name, text in verdict.files.items()})
    # A picture book of the same numbers, and large: whoever gets it too compares it with the record.
    bound = {name: digest for name, digest in record.bound.items() if name != f"{FILE}{REPORT}"}
    yield from (f"its {visible(name)} is not what record {record.number} binds" for name in _unequal(contained, bound))
    if record.policy_sha256 != sha256(verdict.files.get(POLICY, "").encode()).hexdigest():
        yield f"its policy is not the one that record {record.number} was judged by"
    if record.evaluation_sha256 != evaluation_sha256(verdict.files.get(EVALUATION, "")):
        yield f"its evaluation is not the one that record {record.number} rests on"


def _stated_faults(verdict: Verdict, numbers: Numbers, provenance: Provenance) -> Iterator[str]:
    """What no record binds may at least not say otherwise than what one does."""
    said = {
        DATA_VERSION: provenance.data_version,
        SPLIT_SHA256: provenance.split_sha256,
        TEST_SHA256: provenance.test_sha256,
        POLICY_SHA256: provenance.policy_sha256,
    }
    for name, value in said.items():
        if verdict.tags.get(name) != value:
            yield f"what its provenance says of {name} is not what the version's tag says"
    if verdict.stated.main_score not in numbers.scores:
        yield f"its evaluation has no score {visible(verdict.stated.main_score)}"


def _unequal(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
