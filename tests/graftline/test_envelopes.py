"""An envelope is opened by the key that signed it alone, and in one spelling of all its bytes."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from graftline.envelopes import UnknownKeyError, opened, sealed
from tests.support.bundles import pem_of, signer

# Its base64 ends with bits that say nothing.
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"} '
ENVELOPE = sealed(PAYLOAD, signer())
OURS = [signer().public_key]


def refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"spelling|spelt|does not fit|none of those"):
        opened(content, OURS)


def test_an_envelope_gives_its_payload_to_whoever_trusts_its_key() -> None:
    assert opened(ENVELOPE, [signer("another").public_key, *OURS]) == PAYLOAD


@pytest.mark.parametrize("keys", [[], [signer("another").public_key]], ids=["none", "another"])
def test_without_its_key_among_the_trusted_ones_it_is_refused_by_the_keys_name(keys: list[str]) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        opened(ENVELOPE, keys)
    assert OURS[0] in str(caught.value)


def test_every_bit_of_every_byte_counts() -> None:
    for place in range(len(ENVELOPE)):
        for bit in range(8):
            changed = bytearray(ENVELOPE)
            changed[place] ^= 1 << bit
            refused(bytes(changed))


def test_every_cut_and_every_added_byte_is_refused() -> None:
    for place in range(len(ENVELOPE)):
        refused(ENVELOPE[:place])
        refused(ENVELOPE[place + 1 :])
        refused(ENVELOPE[:place] + ENVELOPE[place + 1 :])
        for added in (b" ", b"\n", b"A", ENVELOPE[place : place + 1]):
            refused(ENVELOPE[:place] + added + ENVELOPE[place:])
    for added in (b" ", b"\n", b"\0", ENVELOPE):
        refused(ENVELOPE + added)


def other_spellings() -> Iterator[tuple[str, bytes]]:
    """The same to every reader of JSON and base64, but for these bytes."""
    values = json.loads(ENVELOPE)
    text = base64.b64encode(PAYLOAD).decode()
    assert text.endswith("=")
    leftover = text[:-2] + chr(ord(text[-2]) + 1) + "="
    assert base64.b64decode(leftover) == PAYLOAD
    signed = values["signatures"][0]
    yield "indented", json.dumps(values, indent=2).encode() + b"\n"
    yield "other order", json.dumps(dict(reversed(values.items())), separators=(",", ":")).encode() + b"\n"
    yield "bits left over", _as_file({**values, "payload": leftover})
    yield "other alphabet", _as_file({**values, "payload": text.replace("+", "-").replace("/", "_")[:-4] + "IH0g"})
    yield "escaped", ENVELOPE.replace(b"payload", rb"pa\u0079load", 1)
    yield "name twice", b'{"payload":"AAAA",' + ENVELOPE[1:]
    yield "signature twice", _as_file({**values, "signatures": [signed, signed]})
    yield "no signature", _as_file({**values, "signatures": []})
    yield "another field", _as_file({**values, "another": 1})
    yield "other type", _as_file({**values, "payloadType": "application/json"})
    yield "carriage return", ENVELOPE.replace(b"\n", b"\r\n")
    yield "byte order mark", b"\xef\xbb\xbf" + ENVELOPE


def _as_file(values: object) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


SPELLINGS = dict(other_spellings())


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_of_the_same_is_refused(name: str) -> None:
    content = SPELLINGS[name]
    assert content != ENVELOPE
    refused(content)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"[" * 100_000, b'{"payload":' * 50_000, b"9" * 100_000])
def test_a_file_that_is_no_envelope_is_refused_without_reading_on(content: bytes) -> None:
    refused(content)


def signed_parts(content: bytes) -> tuple[bytes, bytes]:
    """What DSSE says is signed, and the signature: from its specification, without a line of ours."""
    values = json.loads(content)
    payload, kind = base64.b64decode(values["payload"]), values["payloadType"].encode()
    encoded = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    return encoded, base64.b64decode(values["signatures"][0]["sig"])


def test_anybody_can_verify_it_with_another_library() -> None:
    encoded, signature = signed_parts(ENVELOPE)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(OURS[0])).verify(signature, encoded)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@pytest.mark.parametrize(("changed", "exit_code"), [(b"", 0), (b" ", 1)], ids=["as signed", "with a byte more"])
def test_anybody_can_verify_it_with_openssl(tmp_path: Path, changed: bytes, exit_code: int) -> None:
    encoded, signature = signed_parts(ENVELOPE)
    (tmp_path / "signed").write_bytes(encoded + changed)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "private.pem").write_bytes(pem_of("ours"))
    run = ["openssl", "pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"]
    subprocess.run(run, cwd=tmp_path, check=True)
    run = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin"]
    run += ["-in", "signed", "-sigfile", "signature"]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, check=False).returncode == exit_code
