"""Step 1, validate_data: accept what is fit to be learned from, quarantine faulty rows, refuse faulty data."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS, targets_in
from graftline.data.domains import Domain
from graftline.data.expectation import Check
from graftline.data.media_files import MOST_SAMPLE_BITS
from graftline.data.target_kind import row_by_row
from graftline.data.unlabelled import TARGETS
from graftline.digests import json_sha256
from graftline.errors import DataRefusedError
from graftline.files import write_json
from graftline.pages.text import visible
from graftline.pages.validation_page import render
from graftline.settings import DataSettings, Kind
from graftline.settings.by_value import by_value
from graftline.tasks.data.accepted_rows import FurtherRows, ValidatedData
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.expectation_files import expectation_files_sha256, read_expectation_files
from graftline.tasks.data.files import DataVersion, rows_sha256
from graftline.tasks.data.findings import Findings
from graftline.tasks.data.validation import look_into
from graftline.tasks.progress import waiting
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.accepted_table import SUMMARY, write_accepted
from graftline.tasks.steps.validation_files import PAGE, write_findings
from graftline.tasks.workspace import Workspace

STEP = "validate_data"
LIBRARIES = ("great-expectations", "pandas", "pyarrow", "numpy")
CHECKING_LIBRARIES: dict[Kind, tuple[str, ...]] = {
    "text": (),
    "image": ("pillow", "imagehash", "scipy"),
    "audio": ("soundfile",),
}

# What rows are for.
Role = Literal["learned", "unlabelled", "scored"]
# The module of the targets that rows without labels have.
TARGETS_OF = "graftline.data.unlabelled"
# What refused data were looked at for; a finished folder's manifest says it.
INPUTS = "inputs.json"

logger = logging.getLogger("graftline.validate_data")


@step("1 validate_data")
def validate_data(workspace: Workspace, settings: DataSettings, version: DataVersion) -> ValidatedData:
    """Check the data that `version` names, split it, and keep what was accepted and what was not.

    Raises: DataRefusedError naming every unmet expectation of the set; its page is written all the same.
    """
    return validated(workspace, settings, version)


def validated(
    workspace: Workspace,
    settings: DataSettings,
    version: DataVersion,
    *,
    domain: Domain = "source",
    role: Role = "learned",
) -> ValidatedData:
    """The same for the rows of one `domain`, where a column divides them, and for rows of another `role`.

    Of unlabelled ones no target is read; of those that are only scored a few are enough, of any classes. What a team
    expects beside is about rows that are learned from.
    """
    depends_on: dict[str, JsonValue] = {
        "rows_sha256": version.sha256,
        "expectations": expectation_files_sha256(workspace),
        "settings": by_value(settings, "data", without=["allow_modified"]),
        "version": version.version,
        "modified": version.modified,
        **({} if domain == "source" else {"domain": domain}),
        **({} if role == "learned" else {"role": role}),
    }
    every = targets_in(settings)
    code = [*_target_modules(settings), *([TARGETS_OF] if role == "unlabelled" else [])]
    targets = {"learned": every, "unlabelled": TARGETS, "scored": row_by_row(every)}[role]

    def look(cache: Path) -> Iterator[Findings]:
        team = read_expectation_files(workspace) if role == "learned" else ()
        data = workspace.root / version.folder
        return look_into(version.table, data, settings, targets, team, cache=cache, domain=domain)

    refused = workspace.artifacts / STEP / "refused" / json_sha256(depends_on)[:32]
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        code=(__name__, render.__module__, visible.__module__, *code),
        libraries=(*LIBRARIES, *CHECKING_LIBRARIES[settings.kind]),
        build=lambda folder: _noting(
            refused,
            depends_on,
            lambda: _build(folder, refused, workspace, settings, version, look),
        ),
    )
    return _record(folder, settings, version)


def _target_modules(settings: DataSettings) -> list[str]:
    tasks = {settings.task, *(target.task for target in settings.further)}
    return sorted({module for task in tasks for module in TASKS[task].modules("targets")})


def _noting(refused: Path, depends_on: Mapping[str, JsonValue], build: Callable[[], None]) -> None:
    """Build, and where the data are refused write beside the page what they were looked at for."""
    try:
        build()
    except DataRefusedError:
        if refused.is_dir():
            write_json(refused / INPUTS, {"depends_on": {**depends_on}})
        raise


@waiting("validating the data")
def _build(
    folder: Path,
    refused: Path,
    workspace: Workspace,
    settings: DataSettings,
    version: DataVersion,
    look: Callable[[Path], Iterator[Findings]],
) -> None:
    findings, data = Findings(), workspace.root / version.folder
    try:
        cache = objects_folder(workspace.root)
        for findings in look(cache):  # noqa: B007 - the newest
            pass
    except DataRefusedError as error:
        write_findings(refused, findings, settings, version, verdict="refused")
        raise DataRefusedError(f"{error.sentence}; the page: {refused / PAGE}", error.causes) from None
    if rows_sha256(data, version.table, settings.kind) != version.sha256:
        raise DataRefusedError(f"{version.table}: the files changed while they were read; run again")
    if findings.refused:
        write_findings(refused, findings, settings, version, verdict="refused")
        raise _refusal(version.table, findings.checks, refused / PAGE)
    write_findings(folder, findings, settings, version, verdict="accepted")
    write_accepted(folder, findings, settings)


def _refusal(table: Path, checks: Sequence[Check], page: Path) -> DataRefusedError:
    failed = [check for check in checks if not check.success]
    faults = [
        f"{check.expectation.name} (expected that {check.expectation.meaning}; {check.seen}"
        + (f", such as {'; '.join(check.examples)})" if check.examples else ")")
        for check in sorted(failed, key=lambda check: check.expectation.level, reverse=True)
    ]
    return DataRefusedError(
        f"{table}: the data was refused; mend the data or the data settings; the page: {page}", faults
    )


def _meaning(settings: DataSettings, sample_bits: int) -> list[JsonValue]:
    """How the columns of the accepted rows are to be understood."""
    deep: list[JsonValue] = [] if sample_bits == MOST_SAMPLE_BITS else [sample_bits]
    meant: list[JsonValue] = [settings.kind, settings.task, settings.label_separator, *deep]
    further: list[JsonValue] = [[target.name, target.task] for target in settings.further]
    return [*meant, further] if further else meant


def _record(folder: StepFolder, settings: DataSettings, version: DataVersion) -> ValidatedData:
    summary = cast(dict[str, JsonValue], folder.read_json(SUMMARY))
    sample_bits = cast(int, summary["sample_bits"])
    logger.info(
        "%s: %s rows accepted, %s of them twins that are not scored, %s quarantined (%s)",
        STEP,
        summary["accepted"],
        summary["twins"],
        summary["quarantined"],
        folder.outcome,
    )
    return ValidatedData(
        folder=folder,
        data=version,
        read=cast(int, summary["read"]),
        accepted=cast(int, summary["accepted"]),
        quarantined=cast(int, summary["quarantined"]),
        twins=cast(int, summary["twins"]),
        kind=settings.kind,
        task=settings.task,
        input=settings.kind if version.table.is_dir() else settings.input,
        labels=tuple(cast(list[str], summary["labels"])),
        label_separator=settings.label_separator,
        split_rows=cast(dict[str, int], summary["split_rows"]),
        split_from=cast(str, summary["split_from"]),
        split_sha256=cast(str, summary["split_sha256"]),
        test_sha256=cast(str, summary["test_sha256"]),
        sha256=json_sha256([summary["accepted_sha256"], summary["labels"], *_meaning(settings, sample_bits)]),
        page=folder.path / PAGE,
        sample_bits=sample_bits,
        is_partial="further" in summary,
        further=tuple(_further(summary, settings)),
    )


def _further(summary: Mapping[str, JsonValue], settings: DataSettings) -> Iterator[FurtherRows]:
    told = cast(dict[str, dict[str, JsonValue]], summary.get("further", {}))
    for target in settings.further if told else ():
        found = told[target.name]
        yield FurtherRows(
            target.name,
            target.task,
            tuple(cast(list[str], found["labels"])),
            cast(dict[str, int], found["split_rows"]),
            cast(str, found["test_sha256"]),
        )
