"""A bundle holds as its signer made it, or is refused: by each byte, and by all that does not belong together."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from graftline.digests import canonical_json
from graftline.envelopes import sealed
from graftline.errors import BundleRefusedError, SettingsError
from graftline.tasks.bundles import proving
from graftline.tasks.bundles.proving import Proven, prove, read_bundle
from graftline.tasks.registry.records import FORM, Entry, Record
from graftline.tasks.registry.signing import Signing
from tests.support.bundles import MODEL, entry, history, signer, statement, text_of

OURS = Signing((signer().public_key,), {}, None)
JSON = dict[str, Any]


def proved(payload: bytes, signing: Signing = OURS) -> Proven:
    return prove("a.bundle.json", sealed(payload, signer()), signing)


def refusal(payload: bytes, signing: Signing = OURS) -> str:
    """What is said of a payload that a trusted key signed."""
    with pytest.raises(BundleRefusedError) as caught:
        proved(payload, signing)
    assert caught.value.exit_code == 9
    assert caught.value.sentence.startswith("a.bundle.json: ")
    assert caught.value.sentence.isprintable()
    return str(caught.value)


def test_a_whole_bundle_holds_and_says_what_it_says() -> None:
    proven = proved(statement().payload)
    assert (proven.record.verdict, proven.score.value, proven.numbers.rows) == ("PROMOTE", 0.91, 1610)
    assert (proven.key, proven.signed_by, proven.notes) == (signer().public_key, {signer().public_key: 1}, [])


def test_no_byte_can_be_changed() -> None:
    content = sealed(statement().payload, signer())
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with pytest.raises(BundleRefusedError):
            prove("a", bytes(changed), OURS)


def test_nothing_that_no_trusted_key_signed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "parse_statement", lambda _: pytest.fail("it was read"))
    with pytest.raises(BundleRefusedError, match=r"is signed with the key .* none of those that you trust; ask "):
        prove("a", sealed(statement().payload, signer("theirs")), OURS)


Edit = Callable[[JSON, JSON], None]


def changed(edit: Edit) -> bytes:
    """The payload after an edit of the statement and its predicate, spelt as it should be."""
    values = cast("JSON", json.loads(statement().payload))
    edit(values, values["predicate"])
    return canonical_json(values)


def put(name: str, value: object) -> Edit:
    return lambda _, predicate: predicate.__setitem__(name, value)


def put_in(part: str, name: str, value: object) -> Edit:
    return lambda _, predicate: predicate[part].__setitem__(name, value)


def in_record(old: str, new: str) -> Edit:
    return lambda _, predicate: predicate.__setitem__("history", [predicate["history"][0].replace(old, new)])


def in_provenance(old: str, new: str) -> Edit:
    return lambda _, predicate: predicate["stated"].__setitem__(
        "provenance", predicate["stated"]["provenance"].replace(old, new)
    )


def other_digest(values: JSON, _: JSON) -> None:
    values["subject"][0]["digest"]["sha256"] = "0" * 64


EDITS: dict[str, tuple[Edit, str]] = {
    "a file of the model": (other_digest, "the files that it is about are not those of its record 1"),
    "a file left out": (lambda values, _: values["subject"].pop(), "the files that it is about are not those"),
    "a file twice": (
        lambda values, _: values["subject"].append(values["subject"][-1]), "the files that it is about are not those"
    ),
    "another type": (lambda values, _: values.update(_type="x"), "_type: Input should be"),
    "another predicate": (lambda values, _: values.update(predicateType="x"), "predicateType: Input should be"),
    "a field more": (lambda values, _: values.update(more=1), "more: Extra inputs are not permitted"),
    "a field less": (lambda _, predicate: predicate.pop("tags"), "predicate.tags: Field required"),
    "another model": (put("model", "other"), "is a record of the model reviews"),
    "another version": (put("version", 2), f"is no verdict on {MODEL} version 2"),
    "a version that is a text": (put("version", "1"), "predicate.version: Input should be a valid integer"),
    "a huge version": (put("version", 10**3000), "predicate.version: Input should be less than"),
    "a huge count": (lambda _, predicate: predicate["stated"]["rows"].update(test=10**3000), "rows.test: Input should"),
    "a record that is not there": (put("record", 2), "it rests on record 2, but holds 1 records"),
    "no records": (put("history", []), "it rests on record 1, but holds 0 records"),
    "the policy": (put_in("files", "policy.json", "{}"), "its file policy.json is not what record 1 binds"),
    "the evaluation": (
        put_in("files", "evaluation.json", '{"task":"t","rows":1,"scores":{"accuracy":{"value":1,"low":1,"high":1}}}'),
        "its evaluation is not the one that record 1 rests on",
    ),
    "no evaluation": (lambda _, predicate: predicate["files"].pop("evaluation.json"), "its evaluation.json has"),
    "a file that is not bound": (put_in("files", "x", ""), "its file x is not what record 1 binds"),
    "a tag": (put_in("tags", "graftline.data_version", "x"), "its tag graftline.data_version is not what record"),
    "a tag more": (put_in("tags", "x", "y"), "its tag x is not what record 1 binds"),
    "the data's version": (in_provenance("dddd", "dddc"), "what its provenance says of graftline.data_version is not"),
    "the split": (in_provenance("1111", "1112"), "what its provenance says of graftline.split_sha256 is not"),
    "the score that decides": (put_in("stated", "main_score", "luck"), "its evaluation has no score luck"),
    "an edited record": (in_record("PROMOTE", "REJECT"), "record 1 has a signature that does not fit its content"),
    "a record with a space": (in_record('{"action"', '{ "action"'), "its record 1 was edited, or stands in the place"),
    "a record in another's place": (in_record('"number":1', '"number":2'), "its record 1 was edited, or stands in"),
    "no record": (put("history", ["[]"]), "what stands in it as record 1 is none"),
    "a deep record": (put("history", ["[" * 200_000]), "what stands in it as record 1 is none"),
    "a record with a huge number": (in_record('"version":1', '"version":' + "9" * 5000), "as record 1 is none"),
    "a deep evaluation": (put_in("files", "evaluation.json", "[" * 200_000), "its evaluation.json has another form"),
    "a terminal's command": (put_in("tags", "\x1b[2J\u202e", "y"), "tag \\u001b[2J\\u202e is not what record 1"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "said"), EDITS.values(), ids=EDITS.keys())
def test_parts_that_do_not_belong_together_are_told_also_when_they_are_signed(edit: Edit, said: str) -> None:
    assert said in refusal(changed(edit))


@pytest.mark.parametrize(
    "payload",
    [
        b" " + statement().payload,
        json.dumps(json.loads(statement().payload)).encode(),
        b"[" * 100_000,
        b"\xff",
        b"null",
    ],
    ids=["a space", "other spaces", "deep", "no text", "nothing"],
)
def test_a_statement_in_another_spelling_is_refused(payload: bytes) -> None:
    assert "its statement" in refusal(payload)


def with_history(*records: Record, **other: object) -> bytes:
    return statement(list(records), **other).payload


def later(champion: int = 1) -> Entry:
    """A verdict on another version, which found and left this champion."""
    return entry(version=2, verdict="REJECT", champion_before=champion, champion_after=champion, run_id="e" * 32)


def test_a_history_that_was_cut_in_its_middle_or_reordered_is_told() -> None:
    first, second, third = history(entry(), later(), later(), by=signer())
    assert "record 2 was edited, or stands in the place of another" in refusal(with_history(first, third))
    assert "record 1 was edited, or stands in the place of another" in refusal(with_history(second, first))
    renumbered = replace(third, number=2).signed_by(signer())
    assert "its record 2 does not follow on record 1" in refusal(with_history(first, renumbered))


def test_a_later_verdict_on_the_same_version_is_the_one_that_counts() -> None:
    records = history(entry(), entry(action="approval", verdict="REJECT", champion_after=None), by=signer())
    assert "its record 2 says another verdict on that version than record 1" in refusal(with_history(*records))


def test_records_that_another_key_signed_do_not_count_unless_it_is_trusted_too() -> None:
    payload = with_history(*history(entry(), by=signer("former")))
    assert f"signed with the key {signer('former').public_key}, which is not one of the trusted" in refusal(payload)
    both = Signing((*OURS.trusted_keys, signer("former").public_key), {}, None)
    assert proved(payload, both).signed_by == {signer("former").public_key: 1}


def test_unsigned_records_hold_unless_signatures_are_asked_for() -> None:
    payload = with_history(*history(entry()))
    assert proved(payload).signed_by == {}
    assert "its record 1 is not signed, but must be" in refusal(payload, replace(OURS, required_from={MODEL: 1}))


def test_a_signature_that_was_taken_off_a_record_is_told() -> None:
    first, second = history(entry(), later(), by=signer())
    bare = replace(second, signature=None, public_key=None)
    assert "its record 2 is not signed, but must be" in refusal(with_history(first, bare))


def test_an_alias_that_was_moved_by_hand_is_told_and_does_not_speak_against_the_verdict() -> None:
    records = history(entry(), later(champion=7), by=signer())
    (note,) = proved(with_history(*records)).notes
    assert "found version 7 as champion" in note


@pytest.mark.parametrize("form", range(1, FORM))
def test_a_verdict_of_an_earlier_release_binds_nothing(form: int) -> None:
    (record,) = history(replace(entry(), model=None, files=None, bound=None))
    record = replace(record, form=form, reasons=(record.why,))
    assert "is an earlier release's, which binds no files" in refusal(with_history(record))
    assert text_of(record) == canonical_json(record.plain()).decode()


def test_what_is_no_file_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", ".", "pipe"):
        with pytest.raises(SettingsError, match="is no file; name a bundle"):
            read_bundle(tmp_path / name)


def test_a_file_that_is_too_large_is_refused_before_it_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST_BYTES", 1 << 20)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing, which takes no room
    with pytest.raises(BundleRefusedError, match="has more than 1 MiB"):
        read_bundle(tmp_path / "large")
