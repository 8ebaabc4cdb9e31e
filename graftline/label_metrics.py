"""The name under which models registered with release 0.1.0 look for the threshold of several labels."""

from graftline.evaluation.given import THRESHOLD

__all__ = ["THRESHOLD"]
