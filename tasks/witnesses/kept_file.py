"""Receipts in a file that a colleague keeps, a line for each record."""

from collections.abc import Sequence
from pathlib import Path

from graftline.errors import SettingsError
from graftline.files import write_atomically
from graftline.tasks.witnesses.receipts import Receipt, parse_receipt


def read_receipts(path: Path) -> list[Receipt]:
    """Those of all models. Raises: SettingsError if there is no such file, or it holds something else."""
    expected = "expected a file that `graftline history NAME --receipt FILE` wrote"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); {expected}; name it") from None
    receipts = []
    for number, line in enumerate(lines, start=1):
        try:
            receipts.append(parse_receipt(line))
        except ValueError:
            raise SettingsError(f"{path}: line {number} is no receipt; {expected}; name another, or mend it") from None
    return receipts


def add_receipts(path: Path, receipts: Sequence[Receipt]) -> None:
    """Add lines to a file that may be there already. Raises: SettingsError if it cannot be written."""
    try:
        before = path.read_bytes() if path.exists() else b""
        write_atomically(path, before + "".join(f"{receipt.line}\n" for receipt in receipts).encode())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); name another file") from None
