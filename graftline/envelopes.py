"""DSSE envelopes: a statement of in-toto under one Ed25519 signature, in the one spelling that counts."""

import base64
import json
import re
from collections.abc import Collection

from graftline.digests import canonical_json
from graftline.signatures import Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
# JSON allows other spellings of the same: spaces, the order of names, two alphabets of base64. This one alone is taken,
# so that no byte can be changed, added or left out; and nothing of a stranger's file meets a parser.
FORM = re.compile(
    rb'\{"payload":"(?P<payload>[A-Za-z0-9+/]+={0,2})","payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"(?P<key>[A-Za-z0-9+/]{43}=)","sig":"[A-Za-z0-9+/]{86}=="\}\]\}\n'
)


class UnknownKeyError(ValueError):
    """Signed with a key that is none of those that count."""


def sealed(payload: bytes, signer: Signer) -> bytes:
    """The file that holds a payload and the signature over it; the signature names the public key."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signature

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    signature = base64.b64decode(signer.sign(envelope.pae())).hex()
    envelope.signatures[signer.public_key] = Signature(signer.public_key, signature)
    return canonical_json(envelope.to_dict()) + b"\n"


def key_of(content: bytes) -> str:
    """The public key that an envelope says it is signed with, as base64. Raises: ValueError if it is no envelope."""
    match = FORM.fullmatch(content)
    # Counted here: a pattern of groups of four would keep a note of each in a large file.
    if not match or len(match["payload"]) % 4:
        raise ValueError("is no envelope in the one spelling that counts, or some of its bytes were changed")
    return match["key"].decode()


def opened(content: bytes, keys: Collection[str]) -> bytes:
    """The payload of an envelope that is signed with one of these public keys, as base64; else nothing of it is read.

    Raises: UnknownKeyError; ValueError if it is no envelope, or its signature does not fit.
    """
    # As late as this, for the library imports what each of its kinds of key needs.
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    key = key_of(content)
    if key not in keys:
        raise UnknownKeyError(f"is signed with the key {key}, which is none of those that you trust")
    envelope = Envelope.from_dict(json.loads(content))
    # The bits that base64 leaves over at its end would be a second spelling.
    if canonical_json(envelope.to_dict()) + b"\n" != content:
        raise ValueError("is spelt otherwise than it was written: some of its bytes were changed")
    known = SSlibKey(key, "ed25519", "ed25519", {"public": base64.b64decode(key).hex()})
    try:
        envelope.verify([known], threshold=1)
    except VerificationError:
        raise ValueError(f"has a signature of the key {key} that does not fit its content: it was changed") from None
    return envelope.payload
