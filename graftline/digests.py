"""SHA-256 digests of files, JSON values and tensors: the names that results go by."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.files import files_below

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(folder: Path) -> str:
    """One digest over the relative names and contents of the files below `folder`."""
    listing = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files_below(folder)]
    return json_sha256(listing)  # type: ignore[arg-type]


def json_sha256(value: JsonValue) -> str:
    """The SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: JsonValue) -> bytes:
    """The one way to write a value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def lines_sha256(lines: Iterable[str]) -> str:
    """One digest over strings in the order given, each preceded by its length so that none can run into the next."""
    digest = hashlib.sha256()
    for line in lines:
        content = line.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def tensors_sha256(tensors: Mapping[str, "Tensor"]) -> str:
    """One digest over names, types, shapes and bytes, independent of the mapping's order and of any file layout."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
