"""The recipient's own keys count, as files or as text, and nothing that is none is taken for one."""

import base64
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from graftline.errors import SettingsError
from graftline.tasks.bundles.keys import keys_that_count
from graftline.tasks.registry.signing import TRUSTED_KEYS
from tests.support.bundles import pem_of, signer

KEY = signer().public_key


def public_pem(private: bytes) -> bytes:
    public = load_pem_private_key(private, password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)


def test_without_a_key_none_counts() -> None:
    assert keys_that_count([]) is None


@pytest.mark.parametrize(
    "content", [public_pem(pem_of("ours")), KEY.encode(), f"{KEY}\n".encode()], ids=["openssl", "text", "a line"]
)
def test_a_file_may_hold_it_as_openssl_writes_it_or_as_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    found = keys_that_count([str(tmp_path / "key"), signer("another").public_key])
    assert found is not None
    assert found.trusted_keys == (KEY, signer("another").public_key)


def test_another_spelling_of_a_key_is_the_same_key() -> None:
    leftover = KEY[:-2] + chr(ord(KEY[-2]) + 1) + "="
    assert base64.b64decode(leftover) == base64.b64decode(KEY)
    found = keys_that_count([leftover])
    assert found is not None
    assert found.trusted_keys == (KEY,)


@pytest.mark.parametrize(
    ("content", "said"),
    [(pem_of("ours"), "holds a private key, which is nobody's but its owner's"), (b"", "holds no public key"),
     (b"a" * 100_000, "holds no public key"),
     (generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
      "holds a public key of another kind than Ed25519")],
    ids=["private", "empty", "large", "RSA"],
)  # fmt: skip
def test_what_is_no_public_key_is_refused_with_what_is_expected(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=f"{said}.*; expected a file that `openssl pkey -pubout` wrote"):
        keys_that_count([str(tmp_path / "key")])


def test_a_name_that_is_neither_file_nor_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--key nothing: holds no public key"):
        keys_that_count(["nothing"])


def test_the_file_that_the_environment_names_says_whose_signatures_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trusted.yaml"
    path.write_text(yaml.safe_dump({"trusted_keys": [KEY], "required_from": {"reviews": 3}}))
    monkeypatch.setenv(TRUSTED_KEYS, str(path))
    monkeypatch.chdir(tmp_path)  # a recipient has no project that it could lie in
    found = keys_that_count([])
    assert found is not None
    assert (found.trusted_keys, found.required_from, found.trusted_in) == ((KEY,), {"reviews": 3}, TRUSTED_KEYS)


def test_keys_of_the_command_line_go_before_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_KEYS, str(tmp_path / "nothing"))
    found = keys_that_count([KEY])
    assert found is not None
    assert (found.trusted_keys, found.trusted_in) == ((KEY,), "--key")
    with pytest.raises(SettingsError, match="cannot be read"):
        keys_that_count([])
