"""A wait says what is being done, at the rate of the last minute, and how long it will still take."""

import logging

import pytest

from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks import progress
from graftline.tasks.base_models.store import Fetched
from graftline.tasks.progress import ProgressBar, RecentRate, Wait, duration, waiting
from graftline.tasks.steps.training_progress import Teller
from graftline.training.progress import Progress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = RecentRate()
    rate.add(0, 0)
    assert rate.per_second is None
    for second in range(1, 101):
        rate.add(second, second)  # one in a second
    assert rate.per_second == 1
    for second in range(101, 201):
        rate.add(second, 100 + 10 * (second - 100))  # then ten
    assert rate.per_second == 10


def test_a_short_wait_is_not_spoken_of_and_a_long_one_says_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graftline.progress")
    clock, wait = Clock(monkeypatch), None
    wait = Wait("frozen part")
    for second in range(5):
        clock.now = 100 + second
        wait.tell(100 * second, 10_000)
    assert caplog.messages == []
    clock.now = 110
    wait.tell(1000, 10_000, ", loss 0.1")
    clock.now = 115
    wait.tell(1500, 10_000)
    assert caplog.messages == ["frozen part: 1,000 of 10,000 rows, 100 rows/s, 2 min left, loss 0.1"]


def test_a_wait_that_counts_to_no_known_end_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graftline.progress")
    clock, wait = Clock(monkeypatch), Wait("predict")
    for second in range(11):
        clock.now = 100 + second
        wait.tell(512 * second, None)
    assert caplog.messages == ["predict: 5,120 rows, 512 rows/s"]


def test_a_download_is_told_in_megabytes_with_what_an_earlier_run_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graftline.progress")
    clock, fetched = Clock(monkeypatch), Fetched(1_000_000_000)
    fetched.add(500_000_000)
    for second in range(11):
        clock.now = 100 + second
        fetched.tell(2_500_000 * second)
    assert caplog.messages == ["fetching the base model: 525 of 1,000 MB, 2.5 MB/s, 3 min left"]


def test_a_wait_of_unknown_length_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graftline.progress")
    monkeypatch.setattr(progress, "SAY_SECONDS", 0.01)
    with waiting("asking"):
        while not caplog.messages:
            pass
    assert caplog.messages[0] == "asking: 1 s so far"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (40, "40 s"), (89, "89 s"), (240, "4 min"), (3600, "1 h 00 min"), (7500, "2 h 05 min")],
)  # fmt: skip
def test_a_time_is_said_as_a_person_says_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def step(number: int, steps: int) -> Progress:
    return Progress(epoch=1, step=number, steps=steps, loss=0.5, rows_per_second=0)


@pytest.mark.parametrize(
    ("strategy", "frozen_first", "said"),
    # 1,000 rows at 100 in a second through the frozen part; without one, three passes take as long as a step.
    [("probe_then_fine_tune", True, "; adaptation.strategy=feature_extraction would take about 10 s"),
     ("fine_tuning", False, "; adaptation.strategy=feature_extraction would take about 21 s"),
     ("feature_extraction", True, "")],
)  # fmt: skip
def test_the_beginning_of_a_training_says_its_time_and_that_of_the_faster_choice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, strategy: str, frozen_first: bool, said: str
) -> None:
    caplog.set_level(logging.INFO, "graftline.fine_tune")
    clock = Clock(monkeypatch)
    settings = AdaptationSettings.model_validate({"strategy": strategy, "device": "cpu", "batch_size": 16})
    teller = Teller(settings, ProgressBar("a", "b"), rows=1000)
    for done in range(100, 1001, 100) if frozen_first else ():
        teller.passed(done, 1000)
        clock.now += 1
    for number in range(1, 10):
        teller.progress(step(number, 244))
        clock.now += 1
    assert caplog.messages == [f"training: about 4 min{said}"]
