"""Where the parallel work of a run is done. Read from `mlflow/compute.yaml`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from graftline.settings.reading import read_section
from graftline.settings.sections import OptionalText, Section

COMPUTE = "mlflow/compute.yaml"
Engine = Literal["local", "ray"]
LAST_PORT = 65_535


class Compute(Section):
    """Who does what can be done at once. It decides nothing of a result, only when it is there."""

    engine: Engine = "local"
    """local: one thing after the other, in the run's own process. ray: candidates, trials and shards of rows at once,
    also of those to predict, on the workers of a Ray cluster; the run's own process alone writes verdict, history and
    registry."""
    address: OptionalText = None
    """HOST:PORT of the cluster, to which this machine belongs. Empty: what RAY_ADDRESS says, which Ray sets in a job of
    its own; without it as many workers as this machine has processors, begun and ended with the run, at its loopback
    address alone."""
    memory_gigabytes: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Memory that each piece of work asks the cluster for, so that no machine gets more of them than it has room for.
    Empty: processors alone decide, of which each piece asks for adaptation.threads, of predict for --threads."""
    tries: Annotated[int, Field(ge=1, le=100)] = 3
    """How often a piece of work is begun whose machine or process is lost, before the run gives up. Work that fails by
    itself is not tried again."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
            raise ValueError(
                f"{address!r} is no address of a Ray cluster, expected HOST:PORT, as `ray start --head` prints it; not"
                " Ray Client's (ray://): run on a machine of the cluster"
            )
        return address

    @model_validator(mode="after")
    def _who_is_local_needs_no_address(self) -> "Compute":
        if self.engine == "local" and self.address is not None:
            raise ValueError(f"address {self.address} is for engine ray, and engine is local; set that, too")
        return self


def read_compute(path: Path) -> Compute:
    """The settings in a file; without the file the defaults.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return read_section(path, Compute, such_as="engine", verb="compute")
