"""Means of weights: of the best epochs of a training, as far as they help, and of several trainings."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from graftline.errors import GraftlineError
from graftline.files import sync_folder
from graftline.training.plan import Training
from graftline.training.progress import Epoch, rank
from graftline.training.validation_score import validate

# So many epochs at most can be averaged; more would only fill the disk.
MOST_KEPT_EPOCHS = 5
EPOCHS = "epochs"


def average_greedily(training: Training, epochs: Sequence[Epoch], *, folder: Path) -> list[int]:
    """Replace the weights by the mean of those epochs that do better together than the best one alone.

    The greedy soup of Wortsman et al. (2022, arXiv 2203.05482, algorithm 1) over the epochs that `train` kept: from
    the best one down, an epoch joins if the mean with it has no lower validation score, and of equal score no higher
    loss. Returns: the numbers of the epochs in the mean; only one if none helped.
    Raises: GraftlineError if the weights of an epoch cannot be read: without them the mean would be another.
    """
    model, ranked = training.model, sorted(epochs, key=rank)[:MOST_KEPT_EPOCHS]
    members = [ranked[0].number]
    mean = _kept(folder, members[0])
    reached = (-ranked[0].validation_score, ranked[0].validation_loss)
    for epoch in ranked[1:]:
        tried = mixed(mean, _kept(folder, epoch.number), 1 / (len(members) + 1))
        model.load_state_dict(tried, strict=False)
        loss, score = validate(training)
        if (-score, loss) <= reached:
            mean, reached = tried, (-score, loss)
            members.append(epoch.number)
    model.load_state_dict(mean, strict=False)
    model.eval()
    return members


def keep_epoch(learned: Mapping[str, Tensor], epochs: Sequence[Epoch], *, folder: Path) -> None:
    """Write what has been learned by the end of the newest epoch, and remove what is no longer among the best."""
    folder.mkdir(parents=True, exist_ok=True)
    path = epoch_path(folder, epochs[-1].number)
    partial = path.with_suffix(".partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in learned.items()}, partial)
    # The checkpoint that counts this epoch outlives a power cut, so its weights must, too.
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(folder)
    for epoch in sorted(epochs, key=rank)[MOST_KEPT_EPOCHS:]:
        epoch_path(folder, epoch.number).unlink(missing_ok=True)


def epoch_path(folder: Path, number: int) -> Path:
    """Where the weights of an epoch are kept."""
    return folder / f"epoch-{number:04d}.safetensors"


def _kept(folder: Path, number: int) -> dict[str, Tensor]:
    path = epoch_path(folder / EPOCHS, number)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise GraftlineError(
            f"{path}: the weights of epoch {number} cannot be read ({error}), expected them as training wrote them;"
            f" delete {folder} to train again"
        ) from error


def mixed(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Tensors between two sets, of which `share` is the second's."""
    # Counters of BatchNorm are whole numbers: they stay those of the first.
    return {
        name: tensor.lerp(second[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, whatever becomes of them."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
