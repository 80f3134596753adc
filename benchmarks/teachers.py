"""Which learning rate suits the teacher of a GLUE profile, for both optimisers?

Trains the teacher of profile `cpu` on nine tenths of MRPC's training data and scores it on the last
tenth; dev is not looked at. BertAdam, the authors' optimiser, has no bias correction: its first
steps are larger than AdamW's, so each optimiser has its own best rate.

Usage: GLUE_DIR=... python benchmarks/teachers.py SEEDS. Writes results/teachers.csv below this
folder: one row per optimiser, rate, seed and epoch.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from repro.config.cells import plan
from repro.data import metrics
from repro.runs import compute
from repro.runs.stages import resolve
from repro.training.loop import Callback, Training, fit, predict

OUT = Path(__file__).parent / "results" / "teachers.csv"
RATES = {"adamw": (2e-5, 5e-5, 1e-4), "bertadam": (1e-5, 2e-5, 5e-5)}


class Scores(Callback):
    """Scores the model on the held-out examples after each epoch."""

    def __init__(self, data: compute.Data, held_out: np.ndarray, precision: str) -> None:
        self.data, self.held_out, self.precision = data, held_out, precision
        self.epochs: list[dict[str, float]] = []

    def on_step(self, training: Training) -> None:
        """Record the loss, the accuracy and F1."""
        if not training.evaluation_due:
            return
        logits, _ = predict(training.model, self.data.train_tokens, self.held_out, self.precision)
        labels = self.data.train.labels[self.held_out]
        loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
        scores = {n: float(metrics.score(n, labels, logits.argmax(1))) for n in ("accuracy", "f1")}
        self.epochs.append({"epoch": len(self.epochs) + 1, "loss": loss} | scores)


def train(optimizer: str, rate: float, seed: int) -> list[dict]:
    """One teacher: its held-out loss and scores, in percent, after each epoch."""
    torch.set_num_threads(1)
    recipe = f"textbook+optimizer={optimizer}"
    changed = {"teacher.learning_rate": rate}
    cells = plan("table2", "cpu", "MRPC", seed + 1, recipe, changed)
    spec = resolve(cells[seed]).stage("teacher").spec
    data = compute.load_data(spec.inputs)
    order = np.random.default_rng(seed).permutation(len(data.train.labels))
    held_out, rows = order[: len(order) // 10], order[len(order) // 10 :]
    torch.manual_seed(seed)
    model = compute.whole_encoder(spec.inputs)
    objective = spec.loss.objective(torch.from_numpy(data.train.labels), {})
    training = replace(spec.training, evaluations_per_epoch=1)
    scores = Scores(data, held_out, training.precision)
    fit(model, data.train_tokens, rows, objective, training, [scores])
    about = {"optimizer": optimizer, "rate": rate, "seed": seed, "precision": training.precision}
    print(about, scores.epochs[-1], flush=True)
    return [about | epoch for epoch in scores.epochs]


def main(seeds: int) -> None:
    """Train every teacher, two at a time, and write their rows."""
    runs = [(*pair, seed) for seed in range(seeds) for name in RATES
            for pair in product([name], RATES[name])]  # fmt: skip
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = [row for rows in pool.map(train, *zip(*runs, strict=True)) for row in rows]
    frame = pd.DataFrame(rows).round({"loss": 4, "accuracy": 2, "f1": 2})
    frame.to_csv(OUT, index=False, lineterminator="\n")
    print(frame.groupby(["optimizer", "rate", "epoch"]).mean(numeric_only=True).round(2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
