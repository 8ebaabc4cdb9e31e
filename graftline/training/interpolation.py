"""Weights between those that a training started from and those that it ended with: robust fine-tuning (WiSE-FT)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from graftline.frozen.freezing import learned
from graftline.training.averaging import copied, mixed
from graftline.training.plan import Training
from graftline.training.validation_score import validate

# Both ends are among them. The paper tries twice as many, between which its curves are smooth (figure 1).
SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Between:
    """A model between the start and the end of a training, on the validation rows."""

    share: float
    """The share of the end's weights in the mean: 0 is the start, 1 the end."""
    validation_loss: float
    validation_score: float
    """The task's primary score; higher is better."""


def interpolate(training: Training, start: Mapping[str, Tensor]) -> tuple[Between, ...]:
    """Put into the model that mean of its weights and those of `start` that does best on the validation rows.

    (1 - share) start + share end for each of `SHARES` (Wortsman et al. 2021, arXiv 2109.01903, equation 1), for all
    that learned. The best has the highest score; of equals the lowest loss, then the smallest share.
    Returns: all that were tried, the best first.
    """
    model = training.model
    end = copied(learned(model, training.point))
    tried = []
    for share in SHARES:
        model.load_state_dict(mixed(start, end, share), strict=False)
        tried.append(Between(share, *validate(training)))
    ranked = sorted(tried, key=lambda one: (-one.validation_score, one.validation_loss, one.share))
    model.load_state_dict(mixed(start, end, ranked[0].share), strict=False)
    model.eval()
    return tuple(ranked)
