"""The registered model: raw inputs in, labels or numbers out. MLflow keeps this file and runs it."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class AdaptedModel(PythonModel):
    """Takes inputs as a list, a column or the scoring server's JSON; answers one row per input.

    An input is a text; for models of images and sounds bytes, their base64 text, or the path of a readable file.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from graftline.answers.predicting import predictor_of

        # Whoever loads it may choose a faster way: mlflow.pyfunc.load_model(..., model_config={...}).
        self._predictor = predictor_of(Path(context.artifacts["model"]), **context.model_config)

    # Without annotations: MLflow reads them as a schema, and any that it knows would forbid some of the input forms.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        predictions = self._predictor.predict(inputs_of(model_input, self._predictor.kind))
        return pd.DataFrame(self._predictor.columns(predictions))


def inputs_of(table: pd.DataFrame, column: str) -> list[Any]:
    """The inputs of a table with one column, or with one called `column`.

    Raises: ValueError for anything else, and for none.
    """
    if not len(table):
        raise ValueError(f"got no rows, expected one or more, each with a {column}")
    if len(table.columns) > 1 and column not in table.columns:
        raise ValueError(f"got the columns {list(table.columns)}, expected one column, or one called {column}")
    return list((table[column] if column in table.columns else table.iloc[:, 0]).tolist())


set_model(AdaptedModel())
