"""Whose signatures count for the recipient of a bundle: by files and values of their own, never by the bundle."""

import base64
from collections.abc import Sequence
from pathlib import Path

from graftline.errors import SettingsError
from graftline.signatures import is_public_key, public_key_from_pem
from graftline.tasks.registry.signing import Signing, trusted_by_recipient

# A key in PEM form has 113 bytes.
MOST_BYTES = 1 << 16
EXPECTED = "expected a file that `openssl pkey -pubout` wrote, or the base64 text of an Ed25519 public key"


def keys_that_count(named: Sequence[str]) -> Signing | None:
    """The keys that the command line names, else those of the file that the environment names; None without either.

    Raises: SettingsError if one is no public key.
    """
    if not named:
        return trusted_by_recipient()
    return Signing(tuple(_key(one) for one in named), {}, None, "--key")


def _key(named: str) -> str:
    if is_public_key(named):
        return _as_written(named)
    path = Path(named).expanduser()
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_BYTES else b""
    except OSError as error:
        raise SettingsError(f"--key {named}: cannot be read ({error.strerror}); {EXPECTED}") from None
    text = content.decode(errors="replace").strip()
    if is_public_key(text):
        return _as_written(text)
    try:
        return public_key_from_pem(content)
    except ValueError as error:
        raise SettingsError(f"--key {named}: {error}; {EXPECTED}") from None


def _as_written(key: str) -> str:
    """Of the spellings of a key the one that signatures name."""
    return base64.b64encode(base64.b64decode(key)).decode()
