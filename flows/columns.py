"""Tables in the terminal: columns as wide as their widest cell."""

from collections.abc import Sequence


def in_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under its header."""
    lines = [[cell.upper() for cell in header], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
