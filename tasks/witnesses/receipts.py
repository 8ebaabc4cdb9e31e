"""A receipt: the number and digest of a record, in a line; and who keeps receipts."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Annotated, Protocol

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from graftline.digests import canonical_json


@dataclass(frozen=True, order=True)
class Receipt:
    """That there was a record."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    model: str
    number: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def line(self) -> str:
        """Canonical JSON, without a line's end."""
        return canonical_json(asdict(self)).decode()


def parse_receipt(line: str | bytes) -> Receipt:
    """Raises: ValueError if the line is none."""
    try:
        return _RECEIPT.validate_json(line)
    except ValidationError:
        raise ValueError("is no receipt") from None


_RECEIPT: TypeAdapter[Receipt] = TypeAdapter(Receipt)


class Testimony(Protocol):
    """What a witness holds of a model's history at the moment when it was asked."""

    @property
    def receipts(self) -> Sequence[Receipt]:
        """All that were ever given, in any order; of one record there should be one."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """What somebody did to the receipts there."""
        ...

    @property
    def weakness(self) -> str | None:
        """Why receipts could be taken away there, if that is known."""
        ...

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Give more. Raises: ServerAwayError; SettingsError if the witness refuses."""
        ...


class Witness(Protocol):
    """Who keeps receipts."""

    def where(self, model: str) -> str:
        """Its address, fit to be shown."""
        ...

    def asked(self, model: str) -> AbstractContextManager[Testimony]:
        """Raises: ServerAwayError; SettingsError if the witness refuses."""
        ...
