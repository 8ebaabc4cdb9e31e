"""Whether records are signed, with which key, and whose signatures count."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.settings.reading import read_yaml
from graftline.signatures import Signer, is_public_key, signer_from_pem
from graftline.tasks.registry.records import Record
from graftline.tasks.witnesses.named import Witnesses
from graftline.tasks.workspace import Workspace

KEY_FILE = "GRAFTLINE_SIGNING_KEY_FILE"
TRUSTED_KEYS = "GRAFTLINE_TRUSTED_KEYS"
SETTINGS = "signing.yaml"
HERE = f"mlflow/{SETTINGS}"


def _public_key(text: str) -> str:
    if not is_public_key(text):
        raise ValueError("is no Ed25519 public key, expected 32 bytes as base64, as `public_key` in a record has it")
    return text


class _Trusted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    trusted_keys: tuple[Annotated[str, AfterValidator(_public_key)], ...] = ()
    required_from: Mapping[str, Annotated[int, Field(ge=1)]] = {}


class _SigningFile(_Trusted):
    private_key_file: str | None = None


class Outside(_Trusted):
    """The content of the file that the environment names, which whoever writes in the project cannot write."""

    witnesses: Witnesses | None = None


Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class Signing:
    """The content of `mlflow/signing.yaml`, and of the file outside the project that goes before it.

    The path of the private key stands in no record, no log and no message.
    """

    trusted_keys: tuple[str, ...]
    required_from: Mapping[str, int]
    key_file: Path | None
    trusted_in: str | None = None
    """The file that names the trusted keys, if one does."""
    added: tuple[str, ...] = ()
    """The keys that the project trusts and the file outside does not."""
    required_outside: frozenset[str] = frozenset()
    """The models of which the file outside says from which record on they must be signed."""

    def added_faults(self) -> list[str]:
        """Whoever writes records can name a key in the project, too: it does not count, and is told."""
        return [
            f"{HERE} trusts the key {key}, which the file that {TRUSTED_KEYS} names does not: it was added in the"
            " project, and does not count"
            for key in self.added
        ]

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
    """The project's settings; of trusted keys those that the environment names, where it does.

    Raises: SettingsError if a file is wrong, or that of the trusted keys lies in the project; a project without
    `mlflow/signing.yaml` signs nothing.
    """
    path = workspace.root / "mlflow" / SETTINGS
    file = read_form(path, _SigningFile) if path.exists() else _SigningFile()
    named = os.environ.get(KEY_FILE) or file.private_key_file
    key_file = workspace.root / Path(named).expanduser() if named else None
    outside = outside_of(workspace) or Outside()
    required = {
        model: min(found[model] for found in (file.required_from, outside.required_from) if model in found)
        for model in {*file.required_from, *outside.required_from}
    }
    if not outside.trusted_keys:
        return Signing(file.trusted_keys, required, key_file, HERE if file.trusted_keys else None)
    added = tuple(key for key in file.trusted_keys if key not in outside.trusted_keys)
    return Signing(
        outside.trusted_keys, required, key_file, TRUSTED_KEYS, added, required_outside=frozenset(outside.required_from)
    )


def trusted_by_recipient() -> Signing | None:
    """Whose signatures count for one who has no project: as the file says that the environment names, if it does.

    Raises: SettingsError if that file is wrong.
    """
    if not (named := os.environ.get(TRUSTED_KEYS)):
        return None
    found = _read_outside(Path(named).expanduser())
    if not found.trusted_keys:
        return None
    return Signing(found.trusted_keys, found.required_from, None, TRUSTED_KEYS)


def outside_of(workspace: Workspace) -> Outside | None:
    """The content of the file outside of the project, if the environment names one.

    Raises: SettingsError if it is wrong, or lies in the project.
    """
    if not (named := os.environ.get(TRUSTED_KEYS)):
        return None
    path, root = Path(named).expanduser(), workspace.root
    # Neither may a link in the project lead to it.
    if path.resolve().is_relative_to(root.resolve()) or path.absolute().is_relative_to(root.absolute()):
        raise SettingsError(
            f"{TRUSTED_KEYS}={named}: lies in the project, where whoever writes records could add a key; keep the file"
            " outside"
        )
    return _read_outside(path)


def _read_outside(path: Path) -> Outside:
    found = read_form(path, Outside)
    if not found.trusted_keys and found.witnesses is None:
        raise SettingsError(f"{path}: names no trusted_keys, so that any key would count; name those that do")
    return found


def read_form(path: Path, form: type[Form]) -> Form:
    """The checked content of a file of YAML. Raises: SettingsError."""
    try:
        return form.model_validate(read_yaml(path) or {})
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); correct the path, or its mode") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"{path}: {faults}; mend the file") from None


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
            f"{model}: the signing key has the public key {signer.public_key}, which is not one of the trusted_keys of"
            f" {signing.trusted_in}; use a trusted key, or add this one there"
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
