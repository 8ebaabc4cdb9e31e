"""Whether records are signed, with which key, and whose signatures count."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.settings.reading import read_yaml
from graftline.signatures import Signer, is_public_key, signer_from_pem
from graftline.tasks.registry.records import Record
from graftline.tasks.workspace import Workspace

KEY_FILE = "GRAFTLINE_SIGNING_KEY_FILE"
SETTINGS = "signing.yaml"


def _public_key(text: str) -> str:
    if not is_public_key(text):
        raise ValueError("is no Ed25519 public key, expected 32 bytes as base64, as `public_key` in a record has it")
    return text


class _SigningFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    private_key_file: str | None = None
    trusted_keys: tuple[Annotated[str, AfterValidator(_public_key)], ...] = ()
    required_from: Mapping[str, Annotated[int, Field(ge=1)]] = {}


@dataclass(frozen=True)
class Signing:
    """The content of `mlflow/signing.yaml`. The path of the private key stands in no record, no log and no message."""

    trusted_keys: tuple[str, ...]
    required_from: Mapping[str, int]
    key_file: Path | None

    def required(self, model: str, number: int, before: list[Record]) -> bool:
        """Whether this record must be signed: by the settings, or because an earlier one is."""
        first = self.required_from.get(model)
        return (first is not None and number >= first) or any(record.signature for record in before)

    def fault(self, model: str, record: Record, before: list[Record]) -> str | None:
        """The fault of a record's signature, if it has one."""
        if record.signature is None:
            return "is not signed, but must be" if self.required(model, record.number, before) else None
        if not record.signature_holds:
            return "has a signature that does not fit its content: it was edited"
        if self.trusted_keys and record.public_key not in self.trusted_keys:
            return f"is signed with the key {record.public_key}, which is not one of the trusted keys"
        return None


def read_signing(workspace: Workspace) -> Signing:
    """Raises: SettingsError if `mlflow/signing.yaml` is wrong; a project without it signs nothing."""
    path = workspace.root / "mlflow" / SETTINGS
    try:
        file = _SigningFile.model_validate(read_yaml(path) or {})
    except FileNotFoundError:
        file = _SigningFile()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"{path}: {faults}; mend the file") from None
    named = os.environ.get(KEY_FILE) or file.private_key_file
    key_file = workspace.root / Path(named).expanduser() if named else None
    return Signing(file.trusted_keys, file.required_from, key_file)


def signer_for(workspace: Workspace, model: str, before: list[Record]) -> Signer | None:
    """The key for the record that follows on `before`, None where nothing is signed.

    Raises: SettingsError if the key file cannot be used; RegistryRefusedError if a signature is required and there is
    no key for it, or one that is not trusted.
    """
    signing = read_signing(workspace)
    number = len(before) + 1
    if signing.key_file is None:
        if signing.required(model, number, before):
            raise RegistryRefusedError(
                f"{model}: record {number} must be signed, but no key is named; name the file of the private key in the"
                f" environment variable {KEY_FILE} or as private_key_file in mlflow/{SETTINGS}"
            )
        return None
    signer = _read_key(signing.key_file)
    if signing.trusted_keys and signer.public_key not in signing.trusted_keys:
        raise RegistryRefusedError(
            f"{model}: the signing key has the public key {signer.public_key}, which is not one of the trusted_keys in"
            f" mlflow/{SETTINGS}; use a trusted key, or add this one there"
        )
    return signer


def _read_key(path: Path) -> Signer:
    expected = "expected an Ed25519 key in PEM form as `openssl genpkey -algorithm ed25519` writes it"
    try:
        mode, pem = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the signing key's file cannot be read ({error.strerror}); {expected}") from None
    if mode & 0o077:
        raise SettingsError(
            f"the signing key's file has mode {mode:04o}, which lets others read or change it, expected 0600; run"
            " chmod 600 on it, and make a new key if others could have read it"
        )
    try:
        return signer_from_pem(pem)
    except ValueError as error:
        raise SettingsError(f"the signing key's file {error}; {expected}") from None
