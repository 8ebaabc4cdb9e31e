"""The history of a registered model, on Prefect's page."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import JsonValue

from flows.console import show_progress
from flows.history import history as read_history
from flows.history import verified_history


@flow(name="history", persist_result=False)
def history(name: str, verify: bool = False) -> dict[str, JsonValue]:
    """Show what was decided about a registered model.

    Args:
        name: The registered model.
        verify: Check instead that every record and alias is as Graftline left it; the run fails and names what is not.
    """
    with show_progress():
        result = verified_history(name) if verify else read_history(name)
    # Indented, so that Markdown shows what people wrote as it stands.
    lines = "\n".join(f"    {line}" for line in str(result["summary"]).splitlines())
    create_markdown_artifact(key="history", markdown=lines, description=f"History of {name}")
    return result
