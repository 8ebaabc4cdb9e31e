"""Which files a base model may consist of: weights as safetensors, tokenizer data and text; nothing that runs code."""

import json
import pickletools
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pydantic import JsonValue

from graftline.errors import BaseModelRefusedError
from graftline.other_formats import HEAD_BYTES, is_pointer
from graftline.wording import shortened

WEIGHTS = ".safetensors"
TEXT_SUFFIXES = {".json", ".txt", ".md", ".jinja"}
TEXT_NAMES = {".gitattributes", "LICENSE", "LICENCE", "NOTICE"}
TOKENIZER_SUFFIXES = {".model", ".spm", ".tiktoken"}
# fmt: off
PICKLE_SUFFIXES = {
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".hdf5", ".msgpack",
}
CODE_OPCODES = {
    "GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4",
}
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}
# fmt: on
PYTHON_SUFFIXES = {".py", ".pyc", ".pyi", ".pyd", ".so", ".ipynb"}
CODE_KEYS = {"auto_map", "trust_remote_code", "custom_pipelines"}
BINARY_MAGICS = {b"PK\x03\x04": "a zip file", b"\x89HDF": "an HDF5 file", b"\x93NUMPY": "a NumPy file"}
MAX_NAME_CHARACTERS = 200
# The limit of the safetensors library itself: a longer header is an attack on memory.
MAX_HEADER_BYTES = 100_000_000
HEADER_LENGTH_BYTES = 8


def is_model_file(name: str) -> bool:
    """Whether the name is of a type that a base model is loaded from or documented with."""
    path = PurePosixPath(name)
    return path.suffix in TEXT_SUFFIXES | TOKENIZER_SUFFIXES | {WEIGHTS} or path.name in TEXT_NAMES


def check_names(names: Collection[str], where: str) -> None:
    """Refuse a listing with a name that leads out of the folder or may hold code, or without safetensors weights.

    Raises: BaseModelRefusedError naming the first such file.
    """
    for name in names:
        _check_path(name, where)
        _check_type(name, where)
    if not any(name.endswith(WEIGHTS) for name in names):
        _refuse(where, f"holds {len(names)} files and no {WEIGHTS} among them", "weights as safetensors")


def check_content(path: Path, name: str, where: str) -> None:
    """Refuse a file whose bytes are not what its name says, or would make a loader run code.

    Raises: BaseModelRefusedError.
    """
    where = f"{where}: {name}"
    with path.open("rb") as file:
        is_only_pointer = is_pointer(file.read(HEAD_BYTES))
    if is_only_pointer:
        _refuse(where, "is a pointer of Git LFS, run `git lfs pull` where it came from", "the file itself")
    if name.endswith(WEIGHTS):
        _check_safetensors(path, where)
        return
    content = path.read_bytes()
    if content.startswith(b"\x80") or _runs_as_pickle(content):
        _refuse(where, "is a pickle, which can run any code when it is loaded", "text or tokenizer data")
    for magic, kind in BINARY_MAGICS.items():
        if content.startswith(magic):
            _refuse(where, f"is {kind}, which can hold a pickle", "text or tokenizer data")
    if PurePosixPath(name).suffix not in TOKENIZER_SUFFIXES:
        _check_text(content, name, where)


def _check_path(name: str, where: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or any(part in {"", ".", ".."} for part in parts):
        _refuse(where, f"names the file {name!r}", "a path inside the model's folder")
    if any(unicodedata.category(character).startswith("C") for character in name):
        _refuse(where, f"names the file {name!r}", "a name without control characters")
    if max(map(len, parts)) > MAX_NAME_CHARACTERS:
        _refuse(where, f"names the file {shortened(name, 40)!r}", f"at most {MAX_NAME_CHARACTERS} characters")


def _check_type(name: str, where: str) -> None:
    if is_model_file(name):
        return
    suffixes = {suffix.lower() for suffix in PurePosixPath(name).suffixes}
    if suffixes & PICKLE_SUFFIXES:
        _refuse(where, f"holds {name}, of a kind that can run any code when it is loaded", "weights as safetensors")
    if suffixes & PYTHON_SUFFIXES:
        _refuse(where, f"holds the program {name}", "data only: code comes from installed packages")
    _refuse(where, f"holds {name}, of an unknown kind", "safetensors, tokenizer data, .json, .txt and .md")


def _check_text(content: bytes, name: str, where: str) -> None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(where, f"is not UTF-8 (byte {error.start})", "text")
    if "\0" in text:
        _refuse(where, "holds NUL bytes", "text")
    if not name.endswith(".json"):
        return
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(where, f"is not JSON ({error})", "valid JSON")
    for key in _code_keys(tree):
        _refuse(where, f"has the key {key}, which makes a loader import the model's code", "data only")


def _code_keys(tree: JsonValue) -> Iterator[str]:
    """The keys that load code. A plain number under such a key is a token in a vocabulary, not an instruction."""
    branches = [tree]
    while branches:
        branch = branches.pop()
        if isinstance(branch, dict):
            yield from (key for key, value in branch.items() if key in CODE_KEYS and value and type(value) is not int)
            branches.extend(branch.values())
        elif isinstance(branch, list):
            branches.extend(branch)


def _runs_as_pickle(content: bytes) -> bool:
    """Whether an unpickler would get through to the end and call something on the way, whatever the first byte is."""
    calls = False
    try:
        for opcode, _, _ in pickletools.genops(content):
            calls = calls or opcode.name in CODE_OPCODES
    except Exception:  # noqa: BLE001 - bytes that are no pickle fail in as many ways as there are opcodes
        return False
    return calls


def _check_safetensors(path: Path, where: str) -> None:
    """Check that the header is whole and its tensors cover the rest of the file, each byte once."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
        if size_bytes < HEADER_LENGTH_BYTES or length > min(MAX_HEADER_BYTES, size_bytes - HEADER_LENGTH_BYTES):
            _refuse(where, f"has {size_bytes} bytes and announces a header of {length}", "a whole safetensors file")
        content = file.read(length)
    try:
        header = json.loads(content)
        spans = sorted(_span(tensor) for name, tensor in header.items() if name != "__metadata__")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        _refuse(where, f"has a header that does not describe tensors ({error!r})", "a whole safetensors file")
    end = 0
    for start, stop in spans:
        if start != end:
            _refuse(where, f"has a tensor at byte {start} where the one before ends at {end}", "tensors without gaps")
        end = stop
    data_bytes = size_bytes - HEADER_LENGTH_BYTES - length
    if end != data_bytes:
        _refuse(where, f"holds {data_bytes} bytes of tensors, its header describes {end}", "a whole safetensors file")


def _span(tensor: dict[str, JsonValue]) -> tuple[int, int]:
    """First and last byte of a tensor. Raises: ValueError, KeyError or TypeError where they make no sense."""
    offsets, shape, dtype = tensor["data_offsets"], tensor["shape"], tensor["dtype"]
    if not isinstance(offsets, list) or not isinstance(shape, list) or not isinstance(dtype, str):
        raise TypeError("data_offsets, shape or dtype of another type")
    start, stop = (_count(value) for value in offsets)
    bits = DTYPE_BITS[dtype]
    for value in shape:
        bits *= _count(value)
    if (stop - start) * 8 != bits:
        raise ValueError(f"{stop - start} bytes for shape {shape} of {dtype}")
    return start, stop


def _count(value: JsonValue) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _refuse(where: str, got: str, expected: str) -> NoReturn:
    raise BaseModelRefusedError(f"{where} {got}; expected {expected}; use another base model or another revision of it")
