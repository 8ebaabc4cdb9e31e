"""What holds for every test: no tool reports to its makers, and workers that share the cores hinder each other less."""

import os

from flows.cli import DEFAULT_ENVIRONMENT

# At import, not in a fixture: several tools, PyTorch among them, read these when they are imported themselves.
os.environ.update(DEFAULT_ENVIRONMENT | dict(os.environ))

import graftline.torchvision_import  # noqa: F401 - must come before transformers
