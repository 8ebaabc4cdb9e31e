"""Several labels as they stand in one cell of a table."""

from collections.abc import Sequence

from graftline.data.arrow_values import text_of


def labels_in(target: str, separator: str) -> tuple[str, ...]:
    """The labels of a multi-label target; none if it is the separator alone."""
    return () if target == separator else tuple(target.split(separator))


def target_of(labels: Sequence[object], separator: str) -> str:
    """The multi-label target of a list of labels. Raises: ValueError with the reason if it is none of labels."""
    texts = [text_of(label) or "" for label in labels]
    if not all(texts):
        raise ValueError("holds a list with an empty label, a list or an object in it, expected labels alone")
    if divided := [text for text in texts if separator in text]:
        raise ValueError(
            f"holds the label {divided[0]!a}, in which data.label_separator {separator!a} stands; choose another one"
        )
    return separator.join(texts) or separator
