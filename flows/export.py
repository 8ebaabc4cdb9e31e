"""`graftline export VERSION`: a faster variant of a registered version, if it answers as the version does."""

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from graftline.compute.onnx_graph import Weights
from graftline.compute.threads import use_threads
from graftline.flows.console import plain_progress
from graftline.settings import Settings
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.registry.named import NamedVersion, find_named, read_name
from graftline.tasks.registry.versions import champion_of
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.export_version import Exported, export_version
from graftline.tasks.steps.onnx_variant import Limits
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace


@plain_progress()
def export(
    root: Path, settings: Settings, name: str, *, weights: Weights, limits: Limits, say: Callable[[str], None]
) -> dict[str, JsonValue]:
    """Export a version as a graph of ONNX and register it beside, if it stands the gate on the held-out rows.

    A plain function: it trains nothing, and a flow would start a server for it.
    Raises: what `find_named`, `validate_data` and `export_version` raise.
    """
    workspace = Workspace(root)
    version = find_named(workspace, read_name(name, settings.registry.model))
    use_threads(settings.adaptation.threads)
    with noting_uses(workspace, settings.registry.model), data_in_use(workspace):
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
        say(f"export: {version} with weights in {weights}, judged on {data.split_rows['test']:,} held-out rows")
        exported = export_version(workspace, settings, data, version, weights, limits)
    return {
        "of": {"model": version.model, "version": version.number},
        "model": exported.name,
        "version": exported.number,
        "weights": weights,
        "parity": exported.parity.as_json() if exported.parity else None,
        "obstacles": list(exported.obstacles),
        "data_version": data.data.version,
        "summary": _summary(version, exported),
    }


def _summary(version: NamedVersion, exported: Exported) -> str:
    if exported.parity is None:
        known = f"{version} was exported before: {exported.name} version {exported.number}; nothing was done"
        if champion_of(exported.name) == exported.number:
            return known
        return f"{known}; `graftline promote {exported.name} --version {exported.number}` makes it the champion again"
    if exported.number is None:
        return f"not registered: {'; '.join(exported.obstacles)}; {version} goes on as it is"
    return (
        f"{version}: {exported.parity.sentence()}; registered as {exported.name} version {exported.number}, which is"
        f" its champion: `graftline serve {exported.name}`"
    )
