"""A whole bundle of a few kilobytes, whose parts belong together, made without a registry."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import JsonValue

from graftline.digests import canonical_json, json_sha256
from graftline.envelopes import sealed
from graftline.signatures import Signer, signer_from_pem
from graftline.tasks.bundles.form import Made, Stated, Statement, Verdict, subjects_of
from graftline.tasks.registry.binding import POLICY_SHA256, SPLIT_SHA256, TEST_SHA256, bound_files, bound_tags
from graftline.tasks.registry.history import next_record
from graftline.tasks.registry.records import Entry, Record
from graftline.tasks.registry.versions import DATA_VERSION

MODEL = "reviews"
FILES = {"MLmodel": "a" * 64, "artifacts/model/head.safetensors": "b" * 64}
POLICY: JsonValue = {"wanted_difference": 0.02}
TAGS = {
    DATA_VERSION: "d" * 32, SPLIT_SHA256: "1" * 64, TEST_SHA256: "2" * 64, POLICY_SHA256: json_sha256(POLICY),
}  # fmt: skip
EVALUATION: JsonValue = {
    "task": "single_label", "rows": 1610, "scores": {"accuracy": {"value": 0.91, "low": 0.89, "high": 0.93}}
}  # fmt: skip
PROVENANCE: JsonValue = {
    "settings": {"data": {"input": "text", "group": None, "test_share": 0.2, "validation_share": 0.1}},
    "data_version": TAGS[DATA_VERSION], "data_modified": False, "data_sha256": "3" * 64, "split_from": "hash",
    "split_sha256": TAGS[SPLIT_SHA256], "test_sha256": TAGS[TEST_SHA256], "base_model": "hf:one/base@1",
    "base_model_revision": "1", "base_model_sha256": "4" * 64, "policy_sha256": json_sha256(POLICY),
    "git_commit": None, "locks": {},
}  # fmt: skip
TEXTS = {"evaluation.json": json.dumps(EVALUATION, indent=2), "policy.json": canonical_json(POLICY).decode()}


@cache
def signer(name: str = "ours") -> Signer:
    """A key of that name, as long as the tests run."""
    return signer_from_pem(pem_of(name))


@cache
def pem_of(name: str) -> bytes:
    """Its private key as `openssl genpkey` writes it."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def entry(**other: object) -> Entry:
    """A verdict on version 1 that binds the files, tags and texts of this module."""
    bound = bound_tags(TAGS) | bound_files({name: text.encode() for name, text in TEXTS.items()})
    made = Entry(
        action="verdict", version=1, champion_before=None, champion_after=1, why="better", verdict="PROMOTE",
        reasons=("better than the champion",), evaluation_sha256=json_sha256(EVALUATION), run_id="f" * 32,
        policy_sha256=json_sha256(POLICY), data_version=TAGS[DATA_VERSION], model=MODEL, files=FILES,
        bound={**bound, "file report.html": "5" * 64},
    )  # fmt: skip
    return replace(made, **other)  # type: ignore[arg-type]


def history(*entries: Entry, by: Signer | None = None) -> list[Record]:
    """Records of these decisions, in their order."""
    records: list[Record] = []
    for one in entries:
        records.append(next_record(records, one, by))
    return records


def statement(records: list[Record] | None = None, **other: object) -> Statement:
    """The statement about version 1, with some of its values replaced."""
    values: dict[str, object] = {
        "model": MODEL,
        "version": 1,
        "record": 1,
        "made": Made(when="2026-11-29T10:00:00+00:00", who="ada@there", graftline="0.1.0"),
        "files": TEXTS,
        "tags": TAGS,
        "stated": Stated(main_score="accuracy", rows={"test": 1610}, provenance=json.dumps(PROVENANCE)),
        "history": tuple(text_of(record) for record in (history(entry(), by=signer()) if records is None else records)),
    }
    return Statement(subject=subjects_of(FILES), predicate=Verdict(**{**values, **other}))  # type: ignore[arg-type]


def text_of(record: Record) -> str:
    """A record as it stands in a bundle."""
    return canonical_json(record.plain()).decode()


def bundle_in(folder: Path, made: Statement | None = None, by: str = "ours") -> Path:
    """The file of a bundle."""
    path = folder / "a.bundle.json"
    path.write_bytes(sealed((made or statement()).payload, signer(by)))
    return path
