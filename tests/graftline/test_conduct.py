"""How a model behaves where nobody scores it decides about its verdict."""

from graftline.conduct import hostile_requests


def test_requests_that_are_refused_or_answered_are_well() -> None:
    axis = hostile_requests({"null": "refused", "an empty text": "answered"})
    assert (axis.outcome, axis.consequence) == ("win", None)
    assert axis.sentence == "1 of 2 were refused, the others answered"


def test_one_request_that_ends_the_process_rejects_the_model_by_its_name() -> None:
    axis = hostile_requests({"null": "refused", "a huge text": "no answer, the process had ended"})
    assert (axis.outcome, axis.consequence) == ("loss", "REJECT")
    assert axis.sentence == "a huge text no answer, the process had ended"


def test_without_requests_nothing_is_known() -> None:
    axis = hostile_requests(None)
    assert (axis.outcome, axis.consequence) == ("unknown", None)
