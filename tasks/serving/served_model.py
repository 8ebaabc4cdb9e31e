"""The registered model: raw inputs in, labels or numbers out. MLflow keeps this file and runs it."""

import os
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

# MLflow's scoring server sets it in its own process.
SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class RefusedRequestError(MlflowException, ValueError):
    """A request that the model does not answer. To a client this is status 400 and the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=BAD_REQUEST)

    def __setattr__(self, name: str, value: object) -> None:
        """MLflow's server would put the whole request in front of the message."""
        if name != "message" or not hasattr(self, "message"):
            super().__setattr__(name, value)


class AdaptedModel(PythonModel):
    """Takes inputs as a list, a table or the scoring server's JSON, CSV and Parquet; answers one row per input.

    An input is a text; for models of images and sounds bytes or their base64 text. In a Python program it may also be
    a `pathlib.Path`; no text is ever taken for a path.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from graftline.answers.predicting import predictor_of

        # Whoever loads it may choose a faster way: mlflow.pyfunc.load_model(..., model_config={...}).
        config = dict(context.model_config)
        self._column = config.pop("column")
        self._predictor = predictor_of(Path(context.artifacts["model"]), **config)

    # Without annotations: MLflow reads them as a schema, and any that it knows would forbid some of the input forms.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        from graftline.answers.requests import LIMITS, inputs_of

        kind = self._predictor.kind
        limits = LIMITS[kind] if os.environ.get(SERVED) else None
        try:
            inputs = inputs_of(model_input, (self._column, kind), kind, limits=limits)
            predictions = self._predictor.predict(inputs)
        except ValueError as error:
            raise RefusedRequestError(str(error)) from error
        return pd.DataFrame(self._predictor.columns(predictions))


set_model(AdaptedModel())
