"""The project folder of a run."""

from dataclasses import dataclass
from pathlib import Path

from graftline.verdict.policy import POLICY


@dataclass(frozen=True)
class Workspace:
    """The project folder of a run, and what lies where in it."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def features(self) -> Path:
        """The stores of what frozen parts gave."""
        return self.artifacts / "features"

    @property
    def shared_files(self) -> Path:
        """Large files of steps and base models, each by its digest."""
        return self.artifacts / "files"

    @property
    def policy(self) -> Path:
        """The promotion policy, if the project has one of its own."""
        return self.root / POLICY

    @property
    def reports(self) -> Path:
        """The pages and numbers of the newest run."""
        return self.root / "reports"
