"""What a proof of a history finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as Graftline left it."""

    number: int | None
    """Of the record, None where it is about the registry."""
    what: str

    def __str__(self) -> str:
        return self.what if self.number is None else f"record {self.number} {self.what}"
