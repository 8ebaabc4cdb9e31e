"""How an adaptation went."""

from dataclasses import dataclass, field

from torch import Tensor

from graftline.training.interpolation import Between
from graftline.training.progress import Epoch


@dataclass(frozen=True)
class Adapted:
    """How an adaptation went. The model itself was changed in place."""

    frozen: str
    """The frozen part, in words."""
    frozen_sha256: str
    """Digest of all frozen parameters and buffers, the same before and after; of the list of those of all stages, if
    there are stages."""
    epochs: tuple[Epoch, ...]
    members: tuple[int, ...]
    """The epochs whose mean the weights are; usually one."""
    learning_rate: float
    """The highest rate of the pre-trained part."""
    head_penalty: float | None = None
    """The L2 penalty of a solved head; of several targets that of the first one."""
    between: tuple[Between, ...] = ()
    """The means of the weights before and after fine-tuning that were tried, the one that was taken first."""
    validation_outputs: Tensor | None = field(default=None, compare=False)
    """(rows, outputs): the answers for the validation rows before the model learned from these, too, if it did."""
    again_from: int = 0
    """So many labelled rows, all, were learned from in the end; 0: the model is that of the epochs."""
    domain: str = ""
    """The way into the target domain, in words, if there is one."""
