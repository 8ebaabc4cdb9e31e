"""Several labels as they stand in one cell of a table."""


def labels_in(target: str, separator: str) -> tuple[str, ...]:
    """The labels of a multi-label target; none if it is the separator alone."""
    return () if target == separator else tuple(target.split(separator))
