"""`graftline predict`: a registered model's answers for a table, or for a folder of pictures or sounds."""

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.console import plain_progress
from graftline.settings.adaptation import Runtime
from graftline.settings.data import DATA_FOLDER, folder_of
from graftline.tasks.registry.manifest import as_judged
from graftline.tasks.registry.named import find_named, read_name
from graftline.tasks.serving.answering import open_registered
from graftline.tasks.serving.predicting import Trained, predict_table
from graftline.tasks.tracking.server import logged_settings
from graftline.tasks.workers.fanout import fanned_out
from graftline.tasks.workspace import Workspace

# As the settings have them where a run logged none.
INPUT, LABEL_SEPARATOR = "text", "|"


@plain_progress()
def predict(
    root: Path,
    source: Path,
    target: Path,
    *,
    model: str,
    version: int | None,
    say: Callable[[str], None],
    threads: int = 0,
    runtime: Runtime = "torch",
) -> dict[str, JsonValue]:
    """Answer every row of `source` with a version of `model`, by default its champion, and write them to `target`.

    A plain function: it changes nothing in the registry, and a flow would start a server for it.
    """
    workspace = Workspace(root)
    named = find_named(workspace, read_name(f"{model}/{version}" if version else f"{model}@champion"))
    say(f"predict: checking the files of {named} and starting it")
    settings = logged_settings(str(named.version.run_id))
    trained = Trained(settings.get("data.input", INPUT), settings.get("data.label_separator", LABEL_SEPARATOR))
    data = root / folder_of(settings.get("data.path", DATA_FOLDER))
    with fanned_out(workspace), as_judged(workspace, named.model, named.number) as folder:
        registered = open_registered(str(named), folder, named.weights_sha256, runtime=runtime)
        done = predict_table(registered, trained, source, target, data=data, threads=threads, say=say)
    refused = (
        f"; {done.refused:,} could not be read, see the column {done.columns[-1]} of {target}" if done.refused else ""
    )
    return {
        "model": named.model,
        "version": named.number,
        "weights_sha256": named.weights_sha256,
        "rows": {"read": done.read, "answered": done.answered, "refused": done.refused},
        "columns": list(done.columns),
        "kept_rows": done.kept,
        "output": str(target),
        "summary": f"{named} answered {done.answered:,} of {done.read:,} rows: {target}{refused}",
    }
