"""Tensors out of a pickled checkpoint, and nothing else: what would run code in it is refused, and never runs."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.wording import shortened

HDF5_MAGIC, ZIP_MAGIC = b"\x89HDF", b"PK\x03\x04"
# Below it TorchScript keeps its programs, which it does compress; `torch.load` reads none of them.
SCRIPT_FOLDER = "code"
SHOWN_CHARACTERS = 100
# How torch names the class or function that a pickle asks for and may not have.
FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
# In front of what is wrong and behind it torch explains how to load the file all the same.
ADVICE = re.compile(r"Weights only load failed\..*WeightsUnpickler error: |(In PyTorch 2\.6|Check the documentation).*")


def read_tensors(path: Path, where: str, *, entry: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, by their names and in their order.

    They may lie one level deeper, as in the checkpoints of training programs: in the only entry that holds nothing but
    tensors, or in the one that `entry` names.
    Raises: BaseModelRefusedError if there is anything in the file that would run code, or it is cut off or holds no
    tensors; SettingsError if it has several such entries, or not the one named.
    """
    checkpoint = _unpickled(path, where)
    if not isinstance(checkpoint, Mapping):
        _refuse(where, f"holds a {type(checkpoint).__name__}", "a dictionary of tensors, as state_dict() gives it")
    if entry is None and _are_tensors(checkpoint):
        return _whole(checkpoint, where)
    entries = {name: value for name, value in checkpoint.items() if isinstance(value, Mapping) and _are_tensors(value)}
    if entry is None and len(entries) == 1:
        (entry,) = entries
    if entry in entries:
        return _whole(entries[entry], where)
    if entry is not None or entries:
        names = ", ".join(map(repr, entries)) or "none"
        got = f"no entry {entry!r} that is a dictionary of tensors" if entry else f"{len(entries)} such dictionaries"
        raise SettingsError(f"{where}: holds {got}, it has {names}; name one of them with --entry")
    strange = next((name for name, value in checkpoint.items() if not _is_named_tensor(name, value)), None)
    got = f"holds {strange!r}, which is no tensor" if strange is not None else "is empty"
    return _refuse(where, got, "a dictionary of tensors, as state_dict() gives it")


def _unpickled(path: Path, where: str) -> object:
    with path.open("rb") as file:
        magic = file.read(len(HDF5_MAGIC))
    if magic == HDF5_MAGIC:
        _refuse(where, "is an HDF5 file of Keras, whose layers are laid out otherwise", "a checkpoint of PyTorch")
    try:
        if magic == ZIP_MAGIC:
            _require_unpacked(path, where)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu")
    except BaseModelRefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged or hostile file fails in as many ways as it can be written
        message = "".join(filter(str.isprintable, " ".join(str(error).split())))
        reason = f"{type(error).__name__} {shortened(ADVICE.sub('', message), SHOWN_CHARACTERS)}".strip()
    if forbidden := FORBIDDEN.search(message):
        _refuse(where, f"asks for {forbidden[1]}, which could run any code", "tensors and nothing else")
    return _refuse(where, f"cannot be read ({reason})", "a whole file that torch.save wrote")


def _require_unpacked(path: Path, where: str) -> None:
    """Refuse a zip of which more would come than there is: kilobytes can hold what fills the memory."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.split("/")[1:2] != [SCRIPT_FOLDER]]
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            got = f"holds {entry.filename!r} compressed, {entry.file_size:,} bytes in {entry.compress_size:,}"
            _refuse(where, got, "entries as torch.save writes them, each as it is")
    content_bytes, file_bytes = sum(entry.file_size for entry in entries), path.stat().st_size
    if content_bytes > file_bytes:
        got = f"holds entries of {content_bytes:,} bytes in a file of {file_bytes:,}"
        _refuse(where, got, "entries as torch.save writes them, one behind the other")


def _whole(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Plain tensors. A few bytes can pose as terabytes by strides of 0, or as a tensor that has no content at all."""
    for name, tensor in tensors.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            _refuse(where, f"holds {name!r}, which is sparse, quantized, or larger than its content", "plain tensors")
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _are_tensors(values: Mapping[object, object]) -> bool:
    return bool(values) and all(_is_named_tensor(name, value) for name, value in values.items())


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _refuse(where: str, got: str, expected: str) -> NoReturn:
    raise BaseModelRefusedError(f"{where}: {got}; expected {expected}; use another checkpoint, best as safetensors")
