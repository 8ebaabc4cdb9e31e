"""What versions registered by earlier releases do with requests that they misunderstand."""

import logging
from pathlib import Path

logger = logging.getLogger("graftline.serving")

WARNING = (
    "%s was registered by an earlier release: of a table with several columns it answers from the first, it opens files"
    " of pictures and sounds that a request names, and it has no limits. Graftline asks it nothing of that kind, so its"
    " answers here hold; before you serve it again, register it anew (graftline adapt)"
)


def warn_of_earlier_forms(what: str) -> None:
    """Say what an earlier release's version does wrong; `what` is its name."""
    logger.warning(WARNING, what)


def has_earlier_forms(folder: Path) -> bool:
    """Whether a registered version is of an earlier release: those declare one input without a name."""
    from mlflow.models import Model

    return Model.load(str(folder)).get_input_schema() is not None  # type: ignore[no-untyped-call]
