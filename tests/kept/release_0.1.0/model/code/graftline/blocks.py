"""Where the ordered blocks of a model are: what a freeze point counts and names."""

import re

from torch import nn

from graftline.classifier import Classifier
from graftline.errors import SettingsError

# By the class of the backbone, over the names of its modules. Of any other class the blocks are found by inspection.
PATTERNS = {
    # timm
    "ResNet": r"layer\d+\.\d+",
    "VGG": r"features\.\d+|pre_logits\.fc\d",
    "InceptionV3": r"(Conv2d|Mixed)_\w+",
    "EfficientNet": r"blocks\.\d+\.\d+",
    "MobileNetV3": r"blocks\.\d+\.\d+",
    "VisionTransformer": r"blocks\.\d+",
    "ConvNeXt": r"stages\.\d+\.blocks\.\d+",
    # transformers
    "ResNetModel": r"encoder\.stages\.\d+\.layers\.\d+",
    "ConvNextModel": r"encoder\.stages\.\d+\.layers\.\d+",
    "EfficientNetModel": r"encoder\.blocks\.\d+",
    "ViTModel": r"layers\.\d+",
    "Wav2Vec2Model": r"encoder\.layers\.\d+",
    "HubertModel": r"encoder\.layers\.\d+",
    "WavLMModel": r"encoder\.layers\.\d+",
    "Data2VecAudioModel": r"encoder\.layers\.\d+",
    "UniSpeechModel": r"encoder\.layers\.\d+",
    "UniSpeechSatModel": r"encoder\.layers\.\d+",
    "SEWModel": r"encoder\.layers\.\d+",
    "WhisperEncoder": r"layers\.\d+",
}
BACKBONE = "backbone"


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """Names of the blocks in the order in which the model defines them.

    Returns: nothing if no pattern is known and nothing looks like a list of blocks.
    Raises: SettingsError if the pattern that the settings declare fits no two blocks.
    """
    if not isinstance(model, Classifier):
        return _by_inspection(model)
    backbone = model.backbone
    if model.block_pattern is not None:
        names = _matching(backbone, model.block_pattern)
        if len(names) < 2:
            raise SettingsError(
                f"adaptation.block_pattern {model.block_pattern!r} fits {len(names)} modules with weights of"
                f" {type(backbone).__name__}, expected two or more; its modules are called {_some_names(backbone)}"
            )
    elif type(backbone).__name__ in PATTERNS:
        names = _matching(backbone, PATTERNS[type(backbone).__name__])
    else:
        names = _by_inspection(backbone)
    return tuple(f"{BACKBONE}.{name}" for name in names)


def no_blocks(setting: str) -> SettingsError:
    """The error for a setting that needs blocks, of a model that has none that could be found."""
    return SettingsError(
        f"{setting}: this model has no list of equal blocks to count the depth by; name its blocks with"
        r" adaptation.block_pattern, a regular expression over module names such as stages\.\d+, or use"
        " adaptation.strategy fine_tuning or feature_extraction"
    )


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


def _some_names(backbone: nn.Module) -> str:
    with_weights = [name for name, module in backbone.named_modules() if any(True for _ in module.parameters())]
    names = [name for name in with_weights if name.count(".") == 1]
    return ", ".join(names[:6] or [name for name, _ in backbone.named_children()])
