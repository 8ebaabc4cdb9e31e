"""How a model was made: the facts that the report and the model card list, as names and values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BaseUsed:
    """The base model."""

    uri: str
    revision: str
    sha256: str
    licence: str

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is listed of it."""
        return [
            ("base model", f"{self.uri}, revision {self.revision}, sha256 {self.sha256}"),
            ("licence of the base model", self.licence),
        ]


@dataclass(frozen=True)
class DataRead:
    """The data, and the sides of their rows."""

    path: str
    version: str
    modified: bool
    licence: str
    read: int
    accepted: int
    quarantined: int
    twins: int
    split: Mapping[str, int]
    target_domain: str | None = None
    """The rows of the target domain, in words, if there are any."""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is listed of them."""
        modified = ", modified (bars promotion)" if self.modified else ""
        sides = ", ".join(f"{rows:,} {split}" for split, rows in self.split.items())
        if self.twins:
            sides += f", {self.twins:,} twins (held-out rows that nearly are a row to learn from) on no side"
        return [
            ("data", f"{self.path}, version {self.version}{modified}"),
            ("licence of the data", self.licence),
            ("rows", f"{self.read:,} read, {self.accepted:,} accepted, {self.quarantined:,} quarantined"),
            ("split", sides),
            *([("target domain", self.target_domain)] if self.target_domain else []),
        ]


@dataclass(frozen=True)
class Trained:
    """The training, and the weights that came of it."""

    strategy: str
    frozen: str
    frozen_sha256: str
    weights_sha256: str
    epochs: int
    kept_epochs: Sequence[int]
    """Whose weights the model has: of one epoch, or the mean of several."""
    seconds: float
    temperature: float
    between: Sequence[Mapping[str, float]] = ()
    """The means of the weights before and after fine-tuning that were tried, the one that was taken first."""
    again_from: int = 0
    """So many labelled rows, all, were learned from again in the end; 0: they were not."""
    mended: str | None = None
    """What was done against differences between groups, in words."""
    pretraining: str | None = None
    """How the base model's pre-training went on before the training, in words, if it did."""
    domain: str = ""
    """The way into the target domain, in words, if there is one."""
    answers: str | None = None
    """Which answers it gives from its probabilities, in words, if not the usual ones."""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is listed of it."""
        return [
            *([("continued pre-training", self.pretraining)] if self.pretraining else []),
            ("strategy", self.strategy),
            *([("into the target domain", self.domain)] if self.domain else []),
            ("frozen", f"{self.frozen}; digest before and after training {self.frozen_sha256}"),
            (
                "training",
                f"{self.epochs} epochs, {kept(self.kept_epochs, self.between, self.again_from)}, {self.seconds:.0f} s",
            ),
            *([("fairness", self.mended)] if self.mended else []),
            *([("answers", self.answers)] if self.answers else []),
            ("weights", f"sha256 {self.weights_sha256}"),
        ]


def kept(epochs: Sequence[int], between: Sequence[Mapping[str, float]] = (), again_from: int = 0) -> str:
    """Which epochs' weights the model has, in words; first of `between` is the mean with those before all epochs.

    Of a model that learned again, `again_from` so many rows, they say how long.
    """
    said = f"weights the mean of {', '.join(map(str, sorted(epochs)))}" if len(epochs) > 1 else f"best {epochs[0]}"
    share = between[0]["share"] if between else 0
    said = f"{said}, {share:g} of it and {1 - share:g} of what it began with" if share else said
    return f"{said}, learned again so long from all {again_from:,} rows" if again_from else said
