"""Errors that a user can mend, each with its exit code."""

from collections.abc import Sequence


class GraftlineError(Exception):
    """One sentence for the user: what, where, got, expected, what to do next.

    Where there are several causes, each has a line of its own below that sentence, the deepest first.
    """

    exit_code = 1

    def __init__(self, sentence: str, causes: Sequence[str] = ()) -> None:
        super().__init__(*((sentence, tuple(causes)) if causes else (sentence,)))
        self.sentence, self.causes = sentence, tuple(causes)

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"  - {cause}" for cause in self.causes)])


class SettingsError(GraftlineError):
    """The settings or arguments are wrong."""

    exit_code = 2


class RuntimeUnfitError(SettingsError):
    """A runtime cannot run a model, or runs it differently."""


class DataRefusedError(GraftlineError):
    """The data was refused."""

    exit_code = 3


class BaseModelRefusedError(GraftlineError):
    """The base model was refused."""

    exit_code = 4


class ReproductionError(GraftlineError):
    """A reproduction differs from the original."""

    exit_code = 5


class RegistryRefusedError(GraftlineError):
    """A registry operation was refused."""

    exit_code = 6


class ServerAwayError(GraftlineError):
    """A server that the work needs does not answer."""

    exit_code = 7


class NoRoomError(GraftlineError):
    """The disk or the memory is full."""

    exit_code = 8


class BundleRefusedError(GraftlineError):
    """A bundle is not what its signer made, or was signed by nobody whom the recipient trusts."""

    exit_code = 9


class Stopped(BaseException):
    """A signal asked this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells tell it: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.number
