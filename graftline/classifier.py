"""The one model of every kind: a pre-trained backbone, one vector per row, and a new head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

# How a backbone's output becomes one vector per row; "own": the backbone does it itself.
Pooling = Literal["mean", "first", "last", "own"]
# Takes the backbone, a batch and the pooling; gives (batch, width).
Vectors = Callable[[nn.Module, Mapping[str, Tensor], Pooling], Tensor]

# The dropout in front of the classification layer that BERT was published with (arXiv 1810.04805, section A.2).
HEAD_DROPOUT = 0.1


class Classifier(nn.Module):
    """Rows to logits: backbone, one vector per row, linear head.

    The head stands apart from the backbone so that the vector in front of it can be kept and replayed, whatever the
    architecture.
    """

    def __init__(
        self,
        backbone: nn.Module,
        vectors: Vectors,
        *,
        width: int,
        pooling: Pooling,
        labels: Sequence[str],
        block_pattern: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Linear(width, len(labels)))
        self.pooling = pooling
        self.labels = list(labels)
        self.block_pattern = block_pattern
        """A regular expression over names in the backbone that says which modules are blocks; None: by inspection."""
        self._vectors = vectors

    def features(self, **batch: Tensor) -> Tensor:
        """What the head reads: (batch, width)."""
        return self._vectors(self.backbone, batch, self.pooling)

    def forward(self, **batch: Tensor) -> Tensor:
        """Logits: (batch, labels)."""
        logits: Tensor = self.head(self.features(**batch))
        return logits
