"""Records are signed with a key from a file that is named nowhere else, and only trusted signatures count."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.flows.history import verified_history
from graftline.signatures import signer_from_pem
from graftline.tasks.registry.history import history_folder, read_history
from graftline.tasks.registry.promotion import promote, rollback
from graftline.tasks.registry.records import parse_record
from graftline.tasks.registry.signing import KEY_FILE, TRUSTED_KEYS
from graftline.tasks.registry.verification import verify
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, record_file, register


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE, raising=False)


def make_key(path: Path) -> str:
    """A key in a file that only its owner may read. Returns: the public key."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    return signer_from_pem(pem).public_key


def settings(workspace: Workspace, **values: object) -> None:
    (workspace.root / "mlflow" / "signing.yaml").write_text(yaml.safe_dump(values))


def findings(workspace: Workspace) -> list[str]:
    return [str(finding) for finding in verify(workspace, MODEL).findings]


def test_records_are_signed_with_the_key_that_the_environment_names_and_verify(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, "PROMOTE")
    public = make_key(workspace.root / "a.pem")
    monkeypatch.setenv(KEY_FILE, str(workspace.root / "a.pem"))
    settings(workspace, trusted_keys=[public])
    promote(workspace, MODEL, 1, "a test")
    unsigned, signed = read_history(workspace, MODEL)
    assert (unsigned.public_key, signed.public_key) == (None, public)
    assert signed.signature_holds
    assert (findings(workspace), verify(workspace, MODEL).signed) == ([], 1)


def test_the_environment_goes_before_the_settings(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    register(workspace, "PROMOTE")
    make_key(workspace.root / "a.pem")
    public = make_key(workspace.root / "b.pem")
    settings(workspace, private_key_file="a.pem")
    monkeypatch.setenv(KEY_FILE, str(workspace.root / "b.pem"))
    assert promote(workspace, MODEL, 1, "a test").public_key == public


def test_an_edited_signed_record_is_found_by_its_signature(workspace: Workspace) -> None:
    make_key(workspace.root / "a.pem")
    settings(workspace, private_key_file="a.pem")
    register(workspace, "PROMOTE")
    path = record_file(workspace, MODEL, 1)
    path.write_bytes(path.read_bytes().replace(b"PROMOTE", b"PROMOTF"))
    assert "record 1 has a signature that does not fit its content: it was edited" in findings(workspace)


def test_an_unsigned_record_after_a_signed_one_is_refused(workspace: Workspace) -> None:
    make_key(workspace.root / "a.pem")
    settings(workspace, private_key_file="a.pem")
    register(workspace, "PROMOTE")
    settings(workspace)
    with pytest.raises(RegistryRefusedError, match=f"record 2 must be signed, but no key is named; .* {KEY_FILE}"):
        promote(workspace, MODEL, 1, "a test")
    assert len(read_history(workspace, MODEL)) == 1


def test_an_unsigned_record_is_found_where_the_settings_require_signatures(workspace: Workspace) -> None:
    register(workspace, "PROMOTE", "PROMOTE")
    settings(workspace, required_from={MODEL: 2})
    assert findings(workspace) == ["record 2 is not signed, but must be"]
    settings(workspace, required_from={MODEL: 3})
    assert findings(workspace) == []
    with pytest.raises(RegistryRefusedError, match="record 3 must be signed"):
        promote(workspace, MODEL, 1, "a test")


def test_a_signature_by_another_key_than_the_trusted_one_is_refused_and_found(workspace: Workspace) -> None:
    trusted = make_key(workspace.root / "a.pem")
    other = make_key(workspace.root / "b.pem")
    settings(workspace, private_key_file="b.pem")
    register(workspace, "PROMOTE")
    settings(workspace, private_key_file="b.pem", trusted_keys=[trusted])
    assert findings(workspace) == [f"record 1 is signed with the key {other}, which is not one of the trusted keys"]
    with pytest.raises(RegistryRefusedError, match=r"is signed with the key .* not one of the trusted keys"):
        promote(workspace, MODEL, 1, "a test")


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file outside of the project that the environment names for trusted keys."""
    path = tmp_path_factory.mktemp("outside") / "trusted.yaml"
    monkeypatch.setenv(TRUSTED_KEYS, str(path))
    return path


def test_trusted_keys_outside_go_before_those_in_the_project_where_an_added_one_is_told(
    workspace: Workspace, outside: Path
) -> None:
    ours, added = make_key(workspace.root / "a.pem"), make_key(workspace.root / "b.pem")
    outside.write_text(yaml.safe_dump({"trusted_keys": [ours]}))
    settings(workspace, private_key_file="a.pem", trusted_keys=[ours])
    register(workspace, "PROMOTE")
    assert findings(workspace) == []
    settings(workspace, private_key_file="b.pem", trusted_keys=[ours, added])
    (told,) = findings(workspace)
    assert told.startswith(f"mlflow/signing.yaml trusts the key {added}, which the file that {TRUSTED_KEYS} names")
    with pytest.raises(RegistryRefusedError, match=f"not one of the trusted_keys of {TRUSTED_KEYS}"):
        promote(workspace, MODEL, 1, "a test")


def test_a_record_that_was_signed_with_an_added_key_does_not_count(workspace: Workspace, outside: Path) -> None:
    ours, added = make_key(workspace.root / "a.pem"), make_key(workspace.root / "b.pem")
    settings(workspace, private_key_file="b.pem", trusted_keys=[ours, added])
    outside.write_text(yaml.safe_dump({"trusted_keys": [ours, added]}))
    register(workspace, "PROMOTE")
    outside.write_text(yaml.safe_dump({"trusted_keys": [ours]}))
    assert f"record 1 is signed with the key {added}, which is not one of the trusted keys" in findings(workspace)


def test_signatures_that_the_file_outside_requires_cannot_be_cut_off_in_the_project(
    workspace: Workspace, outside: Path
) -> None:
    outside.write_text(
        yaml.safe_dump({"trusted_keys": [make_key(workspace.root / "a.pem")], "required_from": {MODEL: 1}})
    )
    settings(workspace, private_key_file="a.pem")
    register(workspace, "PROMOTE", "HOLD")
    assert verify(workspace, MODEL).signed_by == {read_history(workspace, MODEL)[0].public_key: 2}
    for number in (1, 2):
        path = record_file(workspace, MODEL, number)
        path.write_bytes(replace(parse_record(path.read_bytes()), public_key=None, signature=None).content)
    assert "record 1 is not signed, but must be" in findings(workspace)


def test_it_is_told_where_nothing_outside_keeps_signatures_from_being_taken_away(
    workspace: Workspace, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    keys = {"trusted_keys": [make_key(workspace.root / "a.pem")]}
    settings(workspace, private_key_file="a.pem", required_from={MODEL: 1})
    outside.write_text(yaml.safe_dump(keys))
    register(workspace, "PROMOTE")
    assert "may take all of them away: add required_from" in str(verified_history(MODEL)["summary"])
    outside.write_text(yaml.safe_dump({**keys, "required_from": {MODEL: 1}}))
    assert "take all of them away" not in str(verified_history(MODEL)["summary"])


@pytest.mark.parametrize(("content", "said"), [("{}", "names no trusted_keys"), (None, "cannot be read")])
def test_a_file_of_trusted_keys_that_names_none_is_a_fault_and_not_trust_in_all(
    workspace: Workspace, outside: Path, content: str | None, said: str
) -> None:
    register(workspace, None)
    if content is not None:
        outside.write_text(content)
    with pytest.raises(SettingsError, match=said):
        verify(workspace, MODEL)


def test_a_file_of_trusted_keys_in_the_project_is_refused_though_it_be_a_link(
    workspace: Workspace, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workspace, None)
    outside.write_text(yaml.safe_dump({"trusted_keys": [make_key(workspace.root / "a.pem")]}))
    (workspace.root / "trusted.yaml").symlink_to(outside)
    monkeypatch.setenv(TRUSTED_KEYS, str(workspace.root / "trusted.yaml"))
    with pytest.raises(SettingsError, match="lies in the project"):
        verify(workspace, MODEL)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [(b"no key", 0o600, "holds no unencrypted private key in PEM form"),
     (b"", 0o644, "has mode 0644, which lets others read or change it, expected 0600"),
     (None, 0, "cannot be read \\(No such file or directory\\)")],
    ids=["no key", "readable by others", "missing"],
)  # fmt: skip
def test_a_key_file_that_cannot_be_used_is_a_fault_of_the_settings(
    workspace: Workspace, content: bytes | None, mode: int, said: str
) -> None:
    register(workspace, "PROMOTE")
    if content is not None:
        (workspace.root / "secret.pem").write_bytes(content)
        (workspace.root / "secret.pem").chmod(mode)
    settings(workspace, private_key_file="secret.pem")
    with pytest.raises(SettingsError, match=said) as caught:
        promote(workspace, MODEL, 1, "a test")
    assert "secret.pem" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"trusted_keys": ["short"]}, "trusted_keys.0: .*is no Ed25519 public key"),
     ({"required_from": {MODEL: 0}}, "required_from.tiny: Input should be greater than or equal to 1"),
     ({"key": "a"}, "key: Extra inputs are not permitted")],
)  # fmt: skip
def test_wrong_settings_are_refused_with_the_key(workspace: Workspace, values: dict[str, object], said: str) -> None:
    register(workspace, None)
    settings(workspace, **values)
    with pytest.raises(SettingsError, match=f"signing.yaml: {said}"):
        verify(workspace, MODEL)


def test_the_private_key_and_its_path_are_in_nothing_that_is_written_or_said(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = workspace.root / "very-private.pem"
    make_key(path)
    secret = path.read_bytes().splitlines()[1]
    settings(workspace, private_key_file="very-private.pem")
    register(workspace, "PROMOTE", "PROMOTE")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    rollback(workspace, MODEL, "a test")
    written = [*history_folder(workspace, MODEL).iterdir(), workspace.root / "mlflow" / "mlflow.db"]
    contents = [file.read_bytes() for file in written] + [caplog.text.encode()]
    assert not [content for content in contents if secret in content or b"very-private" in content]
    assert all(parse_record(file.read_bytes()).signature_holds for file in written if file.suffix == ".json")
