"""What each layer of the demo's encoder knows before it is fine-tuned.

For each task of the calibration edition and each layer, a ridge regression on the [CLS] states of
the training examples predicts the label; its accuracy on dev is reported. A student of k layers
starts with the states of layer k.

Usage: python benchmarks/layers.py NAME. Writes the rows of the encoder NAME, such as "third", to
results/calibration_layers.csv below this folder, with the rows of other encoders kept.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from repro.config.cells import Cell
from repro.config.profiles import PROFILES
from repro.config.recipe import TEXTBOOK
from repro.config.tables import TEACHER
from repro.config.tasks import GLUE
from repro.runs.compute import load_data, whole_encoder
from repro.runs.stages import resolve
from repro.training.loop import predict

OUT = Path(__file__).parent / "results" / "calibration_layers.csv"
PENALTY = 1.0  # of the ridge regression, on standardised states


def accuracies(task: str) -> dict[str, float]:
    """Dev accuracy of each layer, in percent."""
    cell = Cell(
        "layers", "teacher", task, 0, 0, "demo", TEACHER, PROFILES["demo"].setting, TEXTBOOK
    )
    inputs = resolve(cell).trained.spec.inputs
    model, data = whole_encoder(inputs), load_data(inputs)
    _, train = predict(model, data.train_tokens, states=True)
    _, dev = predict(model, data.dev_tokens, states=True)
    assert train is not None and dev is not None  # (examples, layers, hidden)
    found = {}
    for layer in range(train.shape[1]):
        seen, new = train[:, layer].double().numpy(), dev[:, layer].double().numpy()
        mean, spread = seen.mean(0), seen.std(0) + 1e-9
        seen, new = (seen - mean) / spread, (new - mean) / spread
        target = 2.0 * data.train.labels - 1  # the classes are -1 and 1
        gram = seen.T @ seen + PENALTY * np.eye(seen.shape[1])
        weights = np.linalg.solve(gram, seen.T @ (target - target.mean()))
        predicted = (new @ weights + target.mean()) > 0
        found[str(layer + 1)] = 100 * float((predicted == data.dev.labels).mean())
    return found


def main(name: str) -> None:
    """Write and print the rows of an encoder."""
    tasks = [f"calibration-{task.name}" for task in GLUE]
    frame = pd.DataFrame([{"encoder": name, "task": task} | accuracies(task) for task in tasks])
    if OUT.is_file():
        earlier = pd.read_csv(OUT)
        frame = pd.concat([earlier[earlier["encoder"] != name], frame])
    frame.round(1).to_csv(OUT, index=False, lineterminator="\n")
    print(frame[frame["encoder"] == name].round(1).to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
