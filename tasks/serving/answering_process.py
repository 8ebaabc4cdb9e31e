"""The process behind answering.py: load a registered model and answer, a list of inputs per line, until there is none.

Nothing of graftline may be imported here: the model must bring the code that it needs.
"""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel


# It ended because the runtime that was asked for is none for this model (sysexits.h: a service is unavailable).
UNFIT = 69
# A short and a long text: another runtime is compared with PyTorch on the first that it is given.
EXAMPLES = ("a quiet street", "The film was not what one hopes for when it begins with rain in a quiet street. " * 40)


def main() -> None:
    folder, threads, runtime = sys.argv[1:]
    # Standard output is for answers alone, whatever the model's libraries print.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import mlflow
    import torch

    torch.set_num_threads(int(threads))
    if runtime == "torch":  # as it is registered
        model = mlflow.pyfunc.load_model(folder)
    else:
        model = mlflow.pyfunc.load_model(folder, model_config={"runtime": runtime})
        try:
            model.predict(list(EXAMPLES))  # a runtime that cannot run it is no fault of the rows
        except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
            print(" ".join(str(error).split()), file=sys.stderr)
            sys.exit(UNFIT)
    for line in sys.stdin:
        print(json.dumps(_answers(model, json.loads(line))), file=answers, flush=True)


def _answers(model: "PyFuncModel", inputs: list[str]) -> list[dict[str, Any]]:
    """One for each input: the model's columns, or `error` where it refuses that input by itself."""
    try:
        table: Any = model.predict(inputs)
        answered: list[dict[str, Any]] = table.to_dict(orient="records")
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises, it is this input's fault
        if len(inputs) == 1:
            return [{"error": str(error)}]
        # It does not say which of them it will not read.
        half = len(inputs) // 2
        return [*_answers(model, inputs[:half]), *_answers(model, inputs[half:])]
    return answered


if __name__ == "__main__":
    main()
