"""Where the ordered blocks of a model are: what a freeze point counts and names."""

import re

from torch import nn

from graftline.errors import SettingsError
from graftline.models.classifier import Classifier
from graftline.models.parts import BACKBONE


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """Names of the blocks in the order in which the model defines them.

    Returns: nothing if no pattern is known and nothing looks like a list of blocks.
    Raises: SettingsError if the pattern that the settings declare fits no two blocks.
    """
    if not isinstance(model, Classifier):
        return _by_inspection(model)
    return tuple(f"{BACKBONE}.{name}" for name in _in_backbone(model))


def no_blocks(setting: str) -> SettingsError:
    """The error for a setting that needs blocks, of a model that has none that could be found."""
    return SettingsError(
        f"{setting}: this model has no list of equal blocks to count the depth by; name its blocks with"
        r" adaptation.block_pattern, a regular expression over module names such as stages\.\d+, or use"
        " adaptation.strategy fine_tuning or feature_extraction"
    )


def _in_backbone(model: Classifier) -> tuple[str, ...]:
    """By the pattern that the settings declare, or else by that of the family."""
    backbone = model.backbone
    if model.block_pattern is not None:
        return _declared(backbone, model.block_pattern)
    pattern = model.family.blocks.get(type(backbone).__name__)
    return _by_inspection(backbone) if pattern is None else _matching(backbone, pattern)


def _declared(backbone: nn.Module, pattern: str) -> tuple[str, ...]:
    names = _matching(backbone, pattern)
    if len(names) < 2:
        raise SettingsError(
            f"adaptation.block_pattern {pattern!r} fits {len(names)} modules with weights of {type(backbone).__name__},"
            f" expected two or more; its modules are called {_some_names(backbone)}"
        )
    return names


def _some_names(backbone: nn.Module) -> str:
    with_weights = [name for name, module in backbone.named_modules() if any(True for _ in module.parameters())]
    names = [name for name in with_weights if name.count(".") == 1]
    return ", ".join(names[:6] or [name for name, _ in backbone.named_children()])


def _matching(backbone: nn.Module, pattern: str) -> tuple[str, ...]:
    """The outermost modules whose whole name fits and that hold a matrix: an activation is no block, nor is a norm."""
    names: list[str] = []
    for name, module in backbone.named_modules():
        inside = names and name.startswith(f"{names[-1]}.")
        if re.fullmatch(pattern, name) and not inside and any(tensor.ndim > 1 for tensor in module.parameters()):
            names.append(name)
    return tuple(names)


def _by_inspection(model: nn.Module) -> tuple[str, ...]:
    """The longest ModuleList or Sequential of one class that holds at least half of the weights, as blocks do."""
    everything = _weights(model)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and len({type(block) for block in module}) == 1
        and 2 * _weights(module) >= everything
    ]
    if not lists:
        return ()
    # Of lists of equal length the outermost one, which stands first.
    name, longest = max(lists, key=lambda entry: len(entry[1]))
    return tuple(f"{name}.{child}" for child, _ in longest.named_children())


def _weights(model: nn.Module) -> int:
    """How many there are, apart from embeddings: those of a large vocabulary outweigh everything else."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(tensor.numel() for tensor in model.parameters() if id(tensor) not in embeddings)
