"""One label per row, on pages."""

from graftline.pages.answers_shown import AnswersShown, percent

SHOWN = AnswersShown(
    answer="one of the labels",
    reached="an accuracy",
    alone="label frequencies",
    class_word="class",
    stranger="no label's kind gets a label",
    number=percent,
    unit=" %",
)
