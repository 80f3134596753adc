"""PeaBERT in 8-bit integers: the paper names quantisation as future work.

The finished three-layer PeaBERT students of the demo (textbook recipe) are exported to plain
transformers models and their linear maps quantised dynamically by torch: weights are stored in
int8, activations are quantised as they come. Nothing is trained. Embeddings stay float32.

Usage: python benchmarks/int8.py SEEDS, after `make table2 RECIPE=textbook SEEDS=...`. Writes
results/int8.csv below this folder: scores, agreement, size and latency by task, and the average.
"""

import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from repro.analysis.example_scores import example_scores
from repro.analysis.inference import Estimate, combine, difference
from repro.config.cells import plan
from repro.config.tasks import task
from repro.models.export import to_transformers
from repro.runs import costs
from repro.runs.compute import load_data, load_model
from repro.runs.stages import resolve
from repro.training.loop import predict

OUT = Path(__file__).parent / "results" / "int8.csv"


def quantised(model: nn.Module) -> nn.Module:
    """The model with int8 linear maps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantise = torch.ao.quantization.quantize_dynamic
        return quantise(model, {nn.Linear}, dtype=torch.qint8)


def megabytes(model: nn.Module) -> float:
    """The size of the stored parameters, layers that run twice counted twice."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell() / 1e6


def main(seeds: int) -> None:
    """Compare both forms of each student, and write the table."""
    torch.set_num_threads(1)
    cells = [c for c in plan("table2", "demo", "", seeds, "textbook") if c.row == "PeaBERT3"]
    rows, gains = [], []
    for name in dict.fromkeys(cell.task for cell in cells):
        answers: dict[str, list[np.ndarray]] = {"float32": [], "int8": []}
        for cell in (cell for cell in cells if cell.task == name):
            resolved = resolve(cell)
            stage = resolved.trained
            data, labels = load_data(stage.spec.inputs), task(name).labels
            plain = to_transformers(load_model(stage), labels)
            forms = {"float32": plain, "int8": quantised(plain)}
            for form, model in forms.items():
                answers[form].append(predict(model, data.dev_tokens)[0].argmax(1))
        exact, rounded = (
            example_scores(task(name).metric, data.dev.labels, np.stack(answers[form]))
            for form in ("float32", "int8")
        )
        gains.append(difference(exact, rounded))
        same = np.mean(np.stack(answers["float32"]) == np.stack(answers["int8"]))
        rows.append({"task": name} | as_row(gains[-1]) | {"same answer": 100 * same})
        for form, model in forms.items():
            rows[-1] |= {f"MB {form}": megabytes(model)}
            rows[-1] |= {f"ms {form}": 1000 * costs.seconds_per_answer(resolved, model, 1)}
    frame = pd.DataFrame([*rows, {"task": "Avg"} | as_row(combine(gains))]).assign(seeds=seeds)
    frame.round(3).to_csv(OUT, index=False, lineterminator="\n")
    print(frame.round(2).to_string(index=False))


def as_row(gain: Estimate) -> dict[str, float]:
    """int8 minus float32 in points, with its 95 % interval."""
    return {"int8 - float32": gain.estimate, "low": gain.low, "high": gain.high}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
