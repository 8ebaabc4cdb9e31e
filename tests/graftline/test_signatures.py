"""A signature is by one key over one content."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from graftline.signatures import is_public_key, is_signed, signer_from_pem


def pem_of(key: object, encryption: KeySerializationEncryption | None = None) -> bytes:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())  # type: ignore[attr-defined]
    return made


def test_the_first_example_of_rfc_8032_comes_out_with_two_bytes() -> None:
    # https://www.rfc-editor.org/rfc/rfc8032#section-7.1, test 3
    secret = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    signer = signer_from_pem(pem_of(Ed25519PrivateKey.from_private_bytes(secret)))
    assert base64.b64decode(signer.public_key).hex() == (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    )
    assert base64.b64decode(signer.sign(bytes.fromhex("af82"))).hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


def test_a_signature_holds_for_its_content_and_key_only() -> None:
    one, other = (signer_from_pem(pem_of(Ed25519PrivateKey.generate())) for _ in range(2))
    signature = one.sign(b"content")
    assert is_signed(b"content", public_key=one.public_key, signature=signature)
    assert not is_signed(b"Content", public_key=one.public_key, signature=signature)
    assert not is_signed(b"content", public_key=other.public_key, signature=signature)


@pytest.mark.parametrize("garbage", ["", "?", "AAAA", "é"])
def test_garbage_is_neither_key_nor_signature(garbage: str) -> None:
    signer = signer_from_pem(pem_of(Ed25519PrivateKey.generate()))
    assert not is_public_key(garbage)
    assert is_public_key(signer.public_key)
    assert not is_signed(b"a", public_key=garbage, signature=signer.sign(b"a"))
    assert not is_signed(b"a", public_key=signer.public_key, signature=garbage)


@pytest.mark.parametrize(
    ("pem", "said"),
    [(b"no key", "holds no unencrypted private key in PEM form"),
     (pem_of(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"word")), "holds no unencrypted private key"),
     (pem_of(generate_private_key(SECP256R1())), "holds a private key of another kind than Ed25519")],
    ids=["no key", "encrypted", "another kind"],
)  # fmt: skip
def test_what_is_no_plain_ed25519_key_is_refused(pem: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        signer_from_pem(pem)


def test_a_signer_does_not_show_its_private_key() -> None:
    key = Ed25519PrivateKey.generate()
    shown = repr(signer_from_pem(pem_of(key)))
    assert "rivate" not in shown
    assert key.private_bytes_raw().hex() not in shown
