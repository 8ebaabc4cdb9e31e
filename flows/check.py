"""`graftline check`: whether a run would begin, and how long it would take, without training."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.console import plain_progress
from graftline.settings import Settings
from graftline.tasks.checkup import Finding, look_at_project


@plain_progress("graftline.progress")  # what is found is said by the verb
def check(root: Path, settings: Settings, say: Callable[[str], None] = lambda _: None) -> dict[str, JsonValue]:
    """One line for each thing that a run needs, said as soon as it is known.

    A plain function: it changes nothing but brings the data's version and the base model, as a run would first.
    Returns: the findings, and as `exit_code` that of the first which is not as it should be.
    """
    findings = []
    for finding in look_at_project(root, settings):
        say(_line(finding))
        findings.append(finding)
    failed = [finding for finding in findings if not finding.ok]
    names = ", ".join(finding.what for finding in failed)
    return {
        "findings": [asdict(finding) for finding in findings],
        "exit_code": failed[0].exit_code if failed else 0,
        "summary": f"not ready: {names}" if failed else "ready: `graftline adapt`",
    }


def _line(finding: Finding) -> str:
    head = f"{'ok' if finding.ok else 'not ok':<8}{finding.what:<21}"
    return "\n".join([head + finding.found] if finding.ok else [head + finding.faults[0], *_causes(finding)])


def _causes(finding: Finding) -> list[str]:
    return [f"{'':<29}- {cause}" for cause in finding.faults[1:]]
