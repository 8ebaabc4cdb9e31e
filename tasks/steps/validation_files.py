"""A part of step 1: what was found in the data, as files to read: the page, the checks, the rows set aside."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import JsonValue

from graftline.data.row_names import printable
from graftline.files import write_atomically, write_json
from graftline.pages.validation_page import QuarantinedRow, ValidationPage, render
from graftline.settings import DataSettings
from graftline.tasks.data.files import DataVersion
from graftline.tasks.data.findings import Findings
from graftline.tasks.data.gx_checks import checkpoint_of, suite_of

SUITE, CHECKPOINT = "suite.json", "checkpoint.json"
QUARANTINE, TWINS, PAGE = "quarantine.jsonl", "twins.jsonl", "validation.html"
CHECKS = "validation.json"


def write_findings(
    folder: Path,
    findings: Findings,
    settings: DataSettings,
    version: DataVersion,
    *,
    verdict: Literal["accepted", "refused"],
) -> None:
    """Of accepted data and of refused ones."""
    rows = _quarantined_rows(findings)
    accepted = len(findings.rows) - len(rows)
    page = ValidationPage(
        verdict,
        settings.path,
        version.version,
        version.modified,
        len(findings.rows),
        accepted,
        len(rows),
        findings.checks,
        findings.classes,
        rows,
        QUARANTINE,
        sample_bits=findings.sample_bits,
        split_from=findings.split_from,
        twins=tuple(findings.twins.values()),
        twins_file=TWINS,
    )
    write_atomically(folder / QUARANTINE, "".join(_json_line(asdict(row)) for row in rows))
    write_atomically(folder / TWINS, "".join(_json_line(asdict(row)) for row in findings.twins.values()))
    if findings.expectations:
        write_json(folder / SUITE, suite_of(findings.expectations))
        write_json(folder / CHECKPOINT, checkpoint_of(findings.expectations))
    write_json(folder / CHECKS, [check.as_json() for check in findings.checks])
    write_atomically(folder / PAGE, render(page))


def _json_line(value: Mapping[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n"


def _quarantined_rows(findings: Findings) -> list[QuarantinedRow]:
    facts, named = findings.facts, list(findings.reasons)
    ids: dict[int, str | None] = {}
    if facts:
        faulty = np.flatnonzero(np.isin(facts.rows.lines, named))
        names = (None if name is None else str(name) for name in facts.ids.at(faulty))
        ids = dict(zip(facts.rows.lines[faulty].tolist(), names, strict=True))
    return [
        QuarantinedRow(
            row.line,
            _safe(ids.get(row.line)),
            findings.reasons[row.line],
            {printable(name): _safe(value) for name, value in zip(findings.names, row.values, strict=True)}
            if row.fault is None
            else {"raw": printable(row.raw)},
        )
        for row in findings.rows.where(np.isin(findings.rows.lines, named))
    ]


def _safe(text: str | None) -> str | None:
    return None if text is None else printable(text)
