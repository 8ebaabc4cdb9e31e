"""The registered model: raw texts in, a label and probabilities out. MLflow keeps this file and runs it to load one."""

from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

INPUT_COLUMN = "text"


class AdaptedTextModel(PythonModel):
    """Takes texts as a list, a column or the scoring server's JSON; answers one row per text."""

    def load_context(self, context: PythonModelContext) -> None:
        from graftline.inference import Predictor

        self._predictor = Predictor(Path(context.artifacts["model"]))

    # Without annotations: MLflow reads them as a schema, and any that it knows would forbid some of the input forms.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        probabilities = self._predictor.probabilities(texts_of(model_input))
        labels = self._predictor.labels
        return pd.DataFrame(
            {
                "label": [labels[place] for place in probabilities.argmax(1)],
                "probabilities": [dict(zip(labels, map(float, row), strict=True)) for row in probabilities],
            }
        )


def texts_of(table: pd.DataFrame) -> list[str]:
    """The texts of a table with one column, or with one called `text`. Raises: ValueError for anything else."""
    if len(table.columns) > 1 and INPUT_COLUMN not in table.columns:
        raise ValueError(f"got the columns {list(table.columns)}, expected one column, or one called {INPUT_COLUMN}")
    column = table[INPUT_COLUMN] if INPUT_COLUMN in table.columns else table.iloc[:, 0]
    texts = column.tolist()
    wrong = [place for place, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise ValueError(f"input {wrong[0]} is {texts[wrong[0]]!r}, expected a text; leave it out or give a text")
    return texts


set_model(AdaptedTextModel())
