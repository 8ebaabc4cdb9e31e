"""The progress of a training, told: how long it will take, how far it is, and each epoch."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.evaluation.scoring import spelt
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.progress import ProgressBar, Wait, duration
from graftline.tasks.steps.learned_targets import score_of
from graftline.tasks.steps.untouched_base import FASTEST

if TYPE_CHECKING:
    from graftline.training.progress import Epoch, Listener, Progress

# A step forward and backward takes about as long as three passes forward.
STEP_IN_PASSES = 3
# So much of a training is measured before its time is foretold, and only a longer one is worth that.
MEASURED_SECONDS, WORTH_SAYING_SECONDS = 3.0, 10.0

logger = logging.getLogger("graftline.fine_tune")


def listener_of(
    settings: AdaptationSettings,
    data: ValidatedData,
    bar: ProgressBar,
    *,
    rows: int,
    finished_epoch: Callable[[dict[str, float]], None],
    saved: Callable[[], None],
) -> "Listener":
    """What tells a training of so many rows; `saved` is called for each checkpoint."""
    from graftline.training.progress import Listener

    teller = Teller(settings, bar, rows=rows)
    return Listener(
        teller.progress,
        lambda epoch: _tell_epoch(epoch, data, finished_epoch),
        logger.info,
        teller.passed,
        saved=saved,
    )


class Teller:
    """Tells of the frozen part and of the training, and at its beginning how long that will take."""

    def __init__(self, settings: AdaptationSettings, bar: ProgressBar, *, rows: int) -> None:
        self._settings, self._rows = settings, rows
        self._frozen, self._training = Wait("frozen part"), Wait("training", unit="steps", bar=bar)
        self._frozen_began: float | None = None
        self._frozen_rate: float | None = None
        self._began: tuple[float, int] | None = None
        self._announced = False

    def passed(self, done: int, total: int) -> None:
        """So many rows have passed the frozen part."""
        now = time.monotonic()
        if self._frozen_began is None:  # with the first batch, which sets things up and is not measured
            self._frozen_began, self._first = now, done
        elif done > self._first:
            self._frozen_rate = (done - self._first) / (now - self._frozen_began)
        self._frozen.tell(done, total)

    def progress(self, progress: "Progress") -> None:
        """A step of the training was taken."""
        self._announce(progress)
        self._training.tell(progress.step, progress.steps, f", epoch {progress.epoch}, loss {progress.loss:.3f}")

    def _announce(self, progress: "Progress") -> None:
        """Once the steps of a few seconds were measured: the expected time, and the faster choice beside it."""
        now = time.monotonic()
        if self._began is None or progress.step <= self._began[1]:  # the first step sets things up
            self._began = (now, progress.step)
            return
        seconds, steps = now - self._began[0], progress.step - self._began[1]
        if self._announced or seconds < MEASURED_SECONDS:
            return
        self._announced = True
        left = (progress.steps - progress.step) * seconds / steps
        if left >= WORTH_SAYING_SECONDS:
            logger.info("training: about %s%s", duration(left), self._faster(left, steps / seconds))

    def _faster(self, left: float, steps_per_second: float) -> str:
        """The time that the fastest strategy would take, by the rate of rows through the base model in this run."""
        settings = self._settings
        rate = self._frozen_rate
        if rate is None and settings.freeze_until is None:  # the whole model runs in every step
            rate = STEP_IN_PASSES * steps_per_second * settings.batch_size * settings.gradient_accumulation
        if settings.strategy == FASTEST or rate is None:
            return ""
        seconds = self._rows / rate
        return f"; adaptation.strategy={FASTEST} would take about {duration(seconds)}" if seconds < left else ""


def _tell_epoch(epoch: "Epoch", data: ValidatedData, finished_epoch: Callable[[dict[str, float]], None]) -> None:
    scoring = TASKS[data.task].scores.scoring
    score, loss = score_of(data), "loss" if data.further else scoring.loss
    logger.info(
        "epoch %d: validation %s %.4f, %s %.4f",
        epoch.number,
        spelt(score),
        epoch.validation_score,
        loss,
        epoch.validation_loss,
    )
    finished_epoch(numbers_of(epoch, score))


def numbers_of(epoch: "Epoch", score: str) -> dict[str, float]:
    """An epoch's numbers with its score under the score's own name, as MLflow and `reports/` show them."""
    numbers = asdict(epoch)
    reached = numbers.pop("validation_score")
    return numbers | {f"validation_{score}": reached}
