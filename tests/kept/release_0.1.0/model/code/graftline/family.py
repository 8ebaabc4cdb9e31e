"""What a family of models is: how its backbones are loaded, saved, fed and pooled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor, nn

from graftline.preprocessing import Preprocessor, Reading

# How a backbone's output becomes one vector per row; "own": the backbone does it itself.
Pooling = Literal["mean", "first", "last", "own"]
HeadKind = Literal["linear", "mlp"]


class Load(Protocol):
    """Loads a backbone from a folder."""

    def __call__(self, folder: Path, *, scratch: bool = False) -> nn.Module:
        """With the weights in the folder; from `scratch` the same architecture with random ones, as its authors began.

        Raises: BaseModelRefusedError if the folder lacks weights of the backbone, which would start as noise.
        """
        ...


@dataclass(frozen=True)
class Family:
    """What sets models of one kind and origin apart; where their blocks are stands in blocks.py."""

    load: Load
    save: Callable[[nn.Module, Path], None]
    preprocessor: Callable[[Path, Reading], Preprocessor]
    vectors: Callable[[nn.Module, Mapping[str, Tensor], Pooling], Tensor]
    """One vector per row from a backbone and a batch: (batch, width)."""
    width: Callable[[nn.Module], int]
    pooling: Callable[[Path, nn.Module], Pooling]
    """How the publisher pools."""
    check: Callable[[nn.Module, Path, Reading], None] = lambda *_: None
    """Raises: BaseModelRefusedError for a backbone that cannot be run; SettingsError if it cannot read so much."""
