"""Any number of labels per row, on pages."""

from graftline.pages.answers_shown import AnswersShown, percent

SHOWN = AnswersShown(
    answer="any of the labels",
    reached="a macro-F1",
    alone="label frequencies",
    class_word="label",
    stranger="another kind may get labels",
    number=percent,
    unit=" %",
)
