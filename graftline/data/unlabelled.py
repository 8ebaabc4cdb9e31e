"""Rows without a target, such as those of a domain that nobody has labelled yet."""

from graftline.data.target_kind import TargetKind

TARGETS = TargetKind(lambda _: (), may_conflict=False, names_folders=True, absent=True)
