"""Any number of labels per row, on pages."""

from graftline.pages.answers_shown import RIGHT_OR_WRONG, AnswersShown, percent, share_of_rows

SHOWN = AnswersShown(
    answer="any of the labels",
    reached="a macro-F1",
    alone="label frequencies",
    class_word="label",
    stranger="another kind may get labels",
    number=percent,
    unit=" %",
    plain="subset_accuracy",
    ours="All labels right on {value} of {rows} {things}",
    theirs="{who} on {value} of the same",
    counted=share_of_rows,
    groups=RIGHT_OR_WRONG,
)
