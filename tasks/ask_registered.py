"""The fresh process behind tasks/serving.py: load a registered model, answer, write, end.

Nothing of graftline may be imported here: the model must bring the code that it needs.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    uri, questions, answers, threads = sys.argv[1:]
    import mlflow
    import torch

    torch.set_num_threads(int(threads))
    model = mlflow.pyfunc.load_model(uri)
    predicted = model.predict(json.loads(Path(questions).read_text(encoding="utf-8")))
    Path(answers).write_text(json.dumps(predicted.to_dict(orient="records")), encoding="utf-8")


if __name__ == "__main__":
    main()
