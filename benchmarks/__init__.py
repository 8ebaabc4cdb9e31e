"""Measurements: speed against the usual ways (speed.py) and memory as rows grow (memory.py)."""

# Before any module here imports timm or transformers: see graftline/models/torchvision_import.py.
import graftline.models  # noqa: F401
