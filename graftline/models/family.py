"""A family of models: how its backbones are recognised, loaded, saved, fed, pooled and cut into blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from graftline.compute.device import Batch
from graftline.models.pooling import Pooling
from graftline.models.preprocessing import Preprocessor, Reading

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
    """All that sets models of one kind and origin apart. A new one takes its place in `folders.py`."""

    recognises: Callable[[Mapping[str, Any]], bool]
    """Whether a folder's configuration describes such a model."""
    load: Load
    save: Callable[[nn.Module, Path], None]
    preprocessor: Callable[[Path, Reading], Preprocessor]
    vectors: Callable[[nn.Module, Batch, Pooling], Tensor]
    """One vector per row from a backbone and a batch: (batch, width)."""
    width: Callable[[nn.Module], int]
    pooling: Callable[[Path, nn.Module], Pooling]
    """How the publisher pools."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """By the class of a backbone, the pattern that the names of its blocks fit; others are found by inspection."""
    check: Callable[[nn.Module, Path, Reading], None] = lambda *_: None
    """Raises: BaseModelRefusedError for a backbone that cannot be run; SettingsError if it cannot read so much."""
