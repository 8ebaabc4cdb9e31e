"""The name under which models registered with release 0.1.0 look for their predictor.

They bring their own library; where this one is imported already, Python finds it in its place.
"""

from graftline.models.predictor import Predictor

__all__ = ["Predictor"]
