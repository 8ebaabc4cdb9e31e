"""One classifier of every family: texts, pictures, sounds."""

# Before any module here imports timm or transformers, which import torchvision.
import graftline.models.torchvision_import  # noqa: F401
