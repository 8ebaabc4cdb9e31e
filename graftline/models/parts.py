"""The names of a model's parts."""

from torch import nn

HEAD, BACKBONE = "head", "backbone"
# In the name of every parameter that peft adds.
LORA = "lora_"


def has_lora(model: nn.Module) -> bool:
    """Whether adapters stand beside the model's weights."""
    return any(LORA in name for name, _ in model.named_parameters())
