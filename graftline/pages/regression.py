"""A number per row, on pages."""

from graftline.pages.answers_shown import AnswersShown


def three_decimals(explained: float) -> str:
    """A share of variance is no percentage of rows: it may be negative."""
    return f"{explained:.3f}"


SHOWN = AnswersShown(
    answer="a number",
    reached="an R²",
    alone="training mean",
    class_word="label",
    stranger="another kind gets a number",
    number=three_decimals,
    unit="",
    plain="mean_absolute_error",
    ours="Off by {value} on average over {rows} {things}",
    theirs="{who} by {value}",
    counted=lambda error, _: f"{error:.3g}",
    groups={
        "newly right": "Nearer than before",
        "newly wrong": "Farther off than before",
        "most surely wrong": "Farthest off",
    },
)
