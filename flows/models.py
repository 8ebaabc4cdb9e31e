"""`graftline models`: the base models that there are, and the registered ones with champion and scores."""

from pathlib import Path

from pydantic import JsonValue

from graftline.flows.columns import in_columns
from graftline.tasks.base_models.listing import BaseModelListed, base_models
from graftline.tasks.registry.listing import RegisteredListed, registered_models
from graftline.tasks.workspace import Workspace

BASE_COLUMNS = ("base model", "revision", "licence", "size", "locked")
MODEL_COLUMNS = ("model", "version", "alias", "verdict", "score", "made")
NO_BASE = "no base model is locked, and no installed package brings one"
NO_MODEL = "no model is registered yet: run `graftline adapt`"


def models(root: Path) -> dict[str, JsonValue]:
    """All base models and all registered versions.

    A plain function: it only reads, and a flow would start a server for it.
    """
    workspace = Workspace(root)
    bases, registered = base_models(workspace), registered_models(workspace)
    return {
        "base_models": [
            {
                "uri": base.uri,
                "revision": base.revision,
                "licence": base.licence,
                "bytes": base.bytes,
                "locked": base.locked,
            }
            for base in bases
        ],
        "models": [
            {
                "model": version.model,
                "version": version.number,
                "aliases": list(version.aliases),
                "verdict": version.verdict,
                "score": version.score,
                "value": version.value,
                "created": version.created,
                "weights_sha256": version.weights_sha256,
                "data_version": version.data_version,
            }
            for version in registered
        ],
        "summary": "\n\n".join(
            (
                in_columns(BASE_COLUMNS, [_base(base) for base in bases]) if bases else NO_BASE,
                in_columns(MODEL_COLUMNS, [_version(version) for version in registered]) if registered else NO_MODEL,
            )
        ),
    }


def _base(base: BaseModelListed) -> tuple[str, ...]:
    size = f"{base.bytes / 1e6:.1f} MB"
    return base.uri, base.revision, base.licence, size, "yes" if base.locked else "no"


def _version(version: RegisteredListed) -> tuple[str, ...]:
    score = f"{version.score} {version.value:.4f}" if version.value is not None else "-"
    made = version.created[:16].replace("T", " ")
    return version.model, str(version.number), ", ".join(version.aliases) or "-", version.verdict or "-", score, made
