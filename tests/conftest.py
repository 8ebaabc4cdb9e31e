"""What holds for every test: no tool reports to its makers."""

import os

import graftline.torchvision_import  # noqa: F401 - must come before transformers
from flows.cli import TELEMETRY_OFF

# At import, not in a fixture: several tools read these when they are imported themselves.
for name, value in TELEMETRY_OFF.items():
    os.environ.setdefault(name, value)
