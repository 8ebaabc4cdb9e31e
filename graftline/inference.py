"""The name under which models registered with release 0.1.0 look for their predictor.

They bring their own library; where this one is imported already, Python finds it in its place.
"""

from graftline.answers.predicting import predictor_of as Predictor  # noqa: N812 - as it was called

__all__ = ["Predictor"]
