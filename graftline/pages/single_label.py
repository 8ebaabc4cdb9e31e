"""One label per row, on pages."""

from graftline.pages.answers_shown import RIGHT_OR_WRONG, AnswersShown, percent, share_of_rows

SHOWN = AnswersShown(
    answer="one of the labels",
    reached="an accuracy",
    alone="label frequencies",
    class_word="class",
    stranger="no label's kind gets a label",
    number=percent,
    unit=" %",
    plain="accuracy",
    ours="Right on {value} of {rows} {things}",
    theirs="{who} on {value} of the same",
    counted=share_of_rows,
    groups=RIGHT_OR_WRONG,
)
