"""What holds for every test: no tool reports to its makers."""

import os

# Two workers and their servers share the cores: a thread that waits for its neighbours may not spin meanwhile.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import graftline.models.torchvision_import  # noqa: F401 - must come before transformers
from graftline.flows.cli import TELEMETRY_OFF

# At import, not in a fixture: several tools read these when they are imported themselves.
for name, value in TELEMETRY_OFF.items():
    os.environ.setdefault(name, value)
