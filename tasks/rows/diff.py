"""What a new version of the data holds beside the one before it."""

from collections.abc import Mapping

from pydantic import JsonValue

from graftline.data.splitting import SPLITS, TWIN
from graftline.tasks.rows.admission import Admission, Looked, twins_among
from graftline.tasks.rows.changes import Proposal


def counts_of(proposal: Proposal) -> dict[str, int]:
    """How many rows are added, changed and removed."""
    removed = sum(change.is_removed for change in proposal.changes.values())
    return {
        "added": len(proposal.additions),
        "changed": len(proposal.changes) - removed,
        "removed": removed,
    }


def diff_of(admission: Admission) -> dict[str, JsonValue]:
    """Rows, sides and classes before and after."""
    old, new, admitted = admission.old, admission.new, admission.admitted
    freed = [key for key in old.reasons if key in new.accepted and key not in admitted.keys]
    return {
        **counts_of(admitted),
        "rows": _both(_rows(old), _rows(new)),
        "sides": _both(_sides(old), _sides(new)),
        "classes": _classes(old, new),
        "accepted_with_them": len(freed),
        "not_scored": twins_among(new, admitted.keys),
        "still_refused": [*admission.still_refused],
    }


def printed(diff: Mapping[str, JsonValue]) -> list[str]:
    """The diff in lines for a person."""
    lines = [f"{'':<12} {diff['added']} added, {diff['changed']} changed, {diff['removed']} removed"]
    for name in ("rows", "sides"):
        lines += [f"{what:<12} {_arrow(both)}" for what, both in _pairs(diff[name])]
    for name, both in _pairs(diff["classes"]):
        before, after = both["before"], both["after"]
        lines.append(
            f"class        {name!a} {before['rows']} -> {after['rows']} rows,"
            f" {before['share']:.2%} -> {after['share']:.2%} of the accepted ones"
        )
    if diff["accepted_with_them"]:
        lines.append(f"             {diff['accepted_with_them']} other rows leave quarantine with them")
    if diff["not_scored"]:
        lines.append(
            f"             {diff['not_scored']} of them are twins of rows that a model learns from: not scored"
        )
    still = diff["still_refused"]
    for said in still if isinstance(still, list) else []:
        lines.append(f"             the line goes on refusing the data: {said}")
    return lines


def _rows(looked: Looked) -> dict[str, JsonValue]:
    return {
        "read": len(looked.findings.rows),
        "accepted": len(looked.accepted),
        "quarantined": len(looked.reasons),
    }


def _sides(looked: Looked) -> dict[str, JsonValue]:
    sides = [row.side for row in looked.accepted.values()]
    return {side: sides.count(side) for side in (*SPLITS, TWIN)}


def _classes(old: Looked, new: Looked) -> dict[str, JsonValue]:
    """Of each class the rows and their share."""
    found: list[dict[str, dict[str, JsonValue]]] = [
        {str(row["label"]): {"rows": row["rows"], "share": row["share"]} for row in looked.findings.classes}
        for looked in (old, new)
    ]
    none: dict[str, JsonValue] = {"rows": 0, "share": 0.0}
    return {
        name: {"before": found[0].get(name, none), "after": found[1].get(name, none)}
        for name in sorted(found[0] | found[1])
    }


def _both(before: dict[str, JsonValue], after: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: {"before": before[name], "after": after[name]} for name in before}


def _pairs(value: JsonValue) -> list[tuple[str, dict[str, dict[str, float]]]]:
    return list(value.items()) if isinstance(value, dict) else []  # type: ignore[arg-type]  # made above


def _arrow(both: Mapping[str, object]) -> str:
    return f"{both['before']} -> {both['after']}" if both["before"] != both["after"] else f"{both['after']} as before"
