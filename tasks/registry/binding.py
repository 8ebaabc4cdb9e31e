"""What stands beside a judged version, each by a digest that its record holds."""

from collections.abc import Mapping
from hashlib import sha256

from graftline.tasks.registry.versions import BARRED, CHECKED, DATA_VERSION, QUESTION, RIVAL, RUN_KEY, WEIGHTS

# How the version does as a server; noted with it, because it is measured once.
SERVING = "graftline.serving"
PREDICTIONS_SHA256, TEST_SHA256, SPLIT_SHA256 = (
    "graftline.predictions_sha256",
    "graftline.test_sha256",
    "graftline.split_sha256",
)
# Verdict and reasons stand in the record itself.
BOUND_TAGS = (
    *(RUN_KEY, QUESTION, WEIGHTS, CHECKED, RIVAL, DATA_VERSION, BARRED),
    *(PREDICTIONS_SHA256, TEST_SHA256, SPLIT_SHA256, SERVING),
)
# In front of the name of a tag, and of a file that MLflow keeps with the version's run.
TAG, FILE = "tag ", "file "


def bound_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The digests of the tags that later decisions rest on. One that is not there is not named, and so may not come."""
    return {f"{TAG}{name}": text_sha256(tags[name]) for name in BOUND_TAGS if name in tags}


def text_sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
