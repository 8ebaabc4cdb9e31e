"""`graftline convert`: weights that are not safetensors become a base model that is."""

from pathlib import Path

from pydantic import JsonValue

from graftline.flows.lock import described
from graftline.tasks.base_models.convert import convert_model
from graftline.tasks.workspace import Workspace


def convert(
    root: Path, source: str, *, output: str, architecture: str | None, entry: str | None, licence: str | None
) -> dict[str, JsonValue]:
    """Convert and lock the weights that `source` names, and say where each tensor was placed by what.

    A plain function, as `lock` is.
    """
    made = convert_model(
        Workspace(root), source, output=output, architecture=architecture, entry=entry, licence=licence
    )
    match, locked = made.conversion.match, made.locked
    return {
        "uri": made.uri,
        "source": made.source,
        "source_sha256": made.source_sha256,
        "architecture": made.conversion.architecture,
        "library": made.conversion.library,
        "tensors": {
            "by_name": match.by_name,
            "by_order": match.by_order,
            "set_to_zero": match.fresh,
            "left_out": list(match.left_out),
        },
        "licence": locked.licence,
        "base_model_sha256": locked.digest,
        "files": len(locked.files),
        "bytes": locked.bytes,
        "outcome": made.outcome,
        "summary": f"{'converted' if made.outcome == 'ran' else 'was converted already:'} {made.source} (sha256"
        f" {made.source_sha256}) to {made.conversion.architecture}: {match.by_name} tensors by name, {match.by_order}"
        f" by order, {match.fresh} counters set to 0, {len(match.left_out)} left out; locked {made.uri}:"
        f" {described(locked)}",
    }
