"""The one model of every kind: a pre-trained backbone, one vector per row, and a new head."""

from typing import cast

import torch
from torch import Tensor, nn

from graftline.compute.device import batch_on, device_of
from graftline.models.family import Family, HeadKind
from graftline.models.outputs import Outputs
from graftline.models.pooling import Pooling

# The dropout in front of the classification layer that BERT was published with (arXiv 1810.04805, section A.2).
HEAD_DROPOUT = 0.1


class Classifier(nn.Module):
    """Rows to outputs: backbone, one vector per row, and a head that is linear or has one hidden layer.

    The head stands apart from the backbone so that the vector in front of it can be kept and replayed, whatever the
    architecture.
    """

    def __init__(
        self,
        backbone: nn.Module,
        family: Family,
        *,
        pooling: Pooling,
        outputs: Outputs,
        head: HeadKind = "linear",
        block_pattern: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width = family.width(backbone)
        hidden = [nn.Dropout(HEAD_DROPOUT), nn.Linear(width, width), nn.GELU()] if head == "mlp" else []
        self.head = nn.Sequential(*hidden, nn.Dropout(HEAD_DROPOUT), nn.Linear(width, outputs.width))
        self.head_kind = head
        self.family = family
        self.pooling = pooling
        self.outputs = outputs
        """The meaning of its outputs."""
        self.block_pattern = block_pattern
        """A regular expression that the names of its blocks fit; None: the family's, or what inspection finds."""

    @property
    def output_layer(self) -> nn.Linear:
        """The last layer: all of the head, apart from dropout, if it is linear."""
        return cast("nn.Linear", self.head[-1])

    @property
    def device(self) -> torch.device:
        """Where it computes; what it is given comes there."""
        return device_of(self.head)

    def features(self, **batch: Tensor) -> Tensor:
        """The vectors that the head reads: (batch, width)."""
        return self.family.vectors(self.backbone, batch_on(batch, self.device), self.pooling)

    def forward(self, **batch: Tensor) -> Tensor:
        """(batch, outputs)."""
        outputs: Tensor = self.head(self.features(**batch))
        return outputs
