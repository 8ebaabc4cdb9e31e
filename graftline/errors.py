"""Errors that a user can mend, each with its exit code."""


class GraftlineError(Exception):
    """One sentence for the user: what, where, got, expected, what to do next."""

    exit_code = 1


class SettingsError(GraftlineError):
    """The settings or arguments are wrong."""

    exit_code = 2


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
