"""The history of a registered model, on Prefect's page."""

import textwrap

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.history import history as read_history
from graftline.flows.history import verified_history
from graftline.flows.run_page import Told, told

# The characters that the page shows side by side in a window of 1,280 pixels.
PAGE_WIDTH = 72


def _of_history(result: dict[str, JsonValue]) -> Told:
    model = str(result["model"])
    return Told(f"history {model}", (model,), str(result["summary"]).splitlines()[-1])


@flow(name="history", flow_run_name="history {name}", persist_result=False)
@told(_of_history)
def history(name: str, verify: bool = False) -> dict[str, JsonValue]:
    """Show what was decided about a registered model.

    Args:
        name: The registered model.
        verify: Check instead that every record and alias is as Graftline left it; the run fails and names what is not.
    """
    with show_progress():
        result = verified_history(name) if verify else read_history(name)
    create_markdown_artifact(key="history", markdown=_as_code(str(result["summary"])), description=f"History of {name}")
    return result


def _as_code(summary: str) -> str:
    """Indented, so that Markdown shows what people wrote as it stands; wrapped, since the page wraps no code."""
    return "\n".join(
        f"    {part}"
        for line in summary.splitlines()
        for part in textwrap.wrap(line, PAGE_WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False)
    )
