"""Ed25519 signatures (RFC 8032): who wrote something, provable by everyone who knows the public key."""

import base64
import binascii
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True)
class Signer:
    """A private key that cannot be printed by accident."""

    public_key: str
    """The 32 bytes of the public key, as base64."""
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, content: bytes) -> str:
        """The signature's 64 bytes, as base64."""
        return base64.b64encode(self._private.sign(content)).decode()


def signer_from_pem(pem: bytes) -> Signer:
    """The key that `openssl genpkey -algorithm ed25519` writes. Raises: ValueError, which names nothing of the key."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("holds no unencrypted private key in PEM form") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("holds a private key of another kind than Ed25519")
    return Signer(base64.b64encode(private.public_key().public_bytes_raw()).decode(), private)


def public_key_from_pem(pem: bytes) -> str:
    """The key that `openssl pkey -pubout` writes, as base64. Raises: ValueError, also for a private key."""
    if b"PRIVATE KEY" in pem:
        raise ValueError("holds a private key, which is nobody's but its owner's")
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no public key in PEM form") from None
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("holds a public key of another kind than Ed25519")
    return base64.b64encode(public.public_bytes_raw()).decode()


def is_public_key(text: str) -> bool:
    """Whether a text is a public key as it stands in a record."""
    try:
        return len(base64.b64decode(text, validate=True)) == PUBLIC_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def is_signed(content: bytes, *, public_key: str, signature: str) -> bool:
    """Whether the owner of the public key signed exactly this content."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
