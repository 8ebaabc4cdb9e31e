"""Several processes that train one model: each computes its share of every batch, and all take the same steps.

Data-parallel training, as PyTorch's DistributedDataParallel does it, but without a module around the model: names,
hooks and the replay of what is frozen stay as they are. Gradients are summed in one fixed order of the processes, so
as many of them give the same bits again; another number adds in another order.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graftline.digests import tensors_sha256
from graftline.frozen.freezing import statistics

# How a process adds up with others: on processors, and on NVIDIA's GPUs.
BACKEND = "cpu:gloo,cuda:nccl"
# Whoever is not heard of for so long is lost: a validation or a checkpoint of the first one takes less.
PATIENCE = timedelta(minutes=10)
# Gradients are added up in pieces of so many numbers: large enough that the way does not count, and no second copy of
# all of them.
PIECE = 1 << 22


class PeerLostError(Exception):
    """Another process of the training, or the way to it, is gone."""


@dataclass(frozen=True)
class Together:
    """The place of this process among those that train together; one alone has nobody to ask."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one validates last, writes checkpoints, and tells how it goes."""
        return self.rank == 0

    def require_alike(self, step: int, learned: Mapping[str, Tensor]) -> None:
        """Raises: PeerLostError unless all begin at the same step with the same weights, as read from a checkpoint."""
        if self.count > 1:
            here = torch.tensor([step, int(tensors_sha256(dict(learned))[:15], 16)])
            low, high = here.clone(), here.clone()
            with _told():
                dist.all_reduce(low, dist.ReduceOp.MIN)
                dist.all_reduce(high, dist.ReduceOp.MAX)
            if not torch.equal(low, high):
                raise PeerLostError("not all of them found the same checkpoint")

    def share(self, batch: Sequence[int]) -> list[int]:
        """Its rows of a batch: every `count`-th one, for rows that follow each other are alike in length."""
        return list(batch[self.rank :: self.count])

    def seed(self, seed: int, step: int) -> None:
        """Begin a step with random numbers of its own, which follow from the step: a resumed training has them again.

        One process alone goes on with those that it has.
        """
        if self.count > 1:
            mixed = hashlib.sha256(f"{seed} {step} {self.rank} {self.count}".encode()).digest()
            torch.manual_seed(int.from_bytes(mixed[:7], "big"))

    def add_up(self, learning: Sequence[nn.Parameter | Tensor], loss: float) -> float:
        """Put the sum of all processes' gradients in the place of its own. Returns: the sum of their losses.

        Raises: PeerLostError.
        """
        if self.count == 1:
            return loss
        present = torch.tensor([*(parameter.grad is not None for parameter in learning), loss], dtype=torch.float64)
        _summed(present)
        gradients = []
        for parameter, anywhere in zip(learning, present[:-1].tolist(), strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for piece in _pieces(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in piece])
            _summed(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in piece])
            for gradient, part in zip(piece, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        return float(present[-1])

    def agree(self, model: nn.Module) -> None:
        """Take the first one's statistics of BatchNorm, which each process made of its own rows."""
        if self.count > 1:
            for tensor in statistics(model).values():
                with _told():
                    dist.broadcast(tensor, 0)

    def gathered(self, batches: Sequence[list[int]], predict: Callable[[Sequence[list[int]]], Tensor]) -> Tensor:
        """What `predict` says of all batches: each process asks it for some; what it leaves out has to be zeros."""
        if self.count == 1 or len(batches) < self.count:
            return predict(batches)
        answers = predict(batches[self.rank :: self.count])
        _summed(answers)
        return answers


ALONE = Together()


@contextmanager
def joined(rank: int, count: int, meeting: Path, *, device: str) -> Iterator[Together]:
    """Inside, this process belongs to those that meet at a file of a folder that all of them see.

    Raises: PeerLostError if not all of them come.
    """
    with _told():
        store = dist.FileStore(str(meeting), count)  # type: ignore[attr-defined]
        dist.init_process_group(
            BACKEND if device == "cuda" else "gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE
        )
    try:
        yield Together(rank, count)
    finally:
        dist.destroy_process_group()


def _summed(tensor: Tensor) -> None:
    with _told():
        dist.all_reduce(tensor)


def _pieces(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    piece: list[Tensor] = []
    for gradient in gradients:
        if piece and sum(one.numel() for one in piece) + gradient.numel() > PIECE:
            yield piece
            piece = []
        piece.append(gradient)
    if piece:
        yield piece


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(str(error).splitlines()[0]) from None
