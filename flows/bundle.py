"""`graftline bundle`: a version, the verdict on it and all that it rests on, as one signed file for somebody else."""

from hashlib import sha256
from pathlib import Path

from pydantic import JsonValue

from graftline.envelopes import sealed
from graftline.errors import RegistryRefusedError
from graftline.files import write_atomically
from graftline.tasks.bundles.form import MOST_BYTES
from graftline.tasks.bundles.gathering import gathered
from graftline.tasks.bundles.proving import prove
from graftline.tasks.registry.signing import Signing
from graftline.tasks.workspace import Workspace


def bundle(root: Path, name: str, version: int, output: Path | None = None) -> dict[str, JsonValue]:
    """Bundle a version that was judged. Nothing is written that its own proof would refuse.

    A plain function: it changes nothing in the registry, and a flow would start a server for it.
    Raises: RegistryRefusedError if the version is not what was judged; SettingsError if there is no key to sign with.
    """
    workspace = Workspace(root)
    statement, signer, records = gathered(workspace, name, version)
    content = sealed(statement.payload, signer)
    if len(content) > MOST_BYTES:
        raise RegistryRefusedError(
            f"{name} version {version}: its bundle has {len(content):,} bytes, at most {MOST_BYTES:,} can be checked:"
            f" its history of {len(records)} records is too long"
        )
    known = {signer.public_key, *(record.public_key for record in records if record.public_key)}
    proven = prove(f"{name} version {version}", content, Signing(tuple(sorted(known)), {}, None))
    # Not beside the code by itself: a file that git does not know makes the next run one that cannot be reproduced.
    path = output or workspace.reports / f"{name}-{version}.bundle.json"
    write_atomically(path, content)
    return {
        "model": name,
        "version": version,
        "verdict": proven.record.verdict,
        "bundle": str(path),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "key": signer.public_key,
        "records": len(records),
        "summary": "\n".join(
            [
                f"{name} version {version}, {proven.record.verdict}: {len(content):,} bytes in {path}",
                f"signed with the key {signer.public_key}: hand that over by another way, then the recipient runs",
                f"graftline verify {path.name} --key {signer.public_key}",
            ]
        ),
    }
