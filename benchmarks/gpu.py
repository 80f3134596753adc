"""Training speed on a GPU of teacher and students of BERT's base size, and cost of all tables.

Measures the ceiling, single trainings and several at once, and estimates the hours for five tables
with five seeds. Weights and ids are random, which does not affect speed. Run
`python benchmarks/gpu.py` (under 8 minutes). Without a GPU the same code runs on a tiny encoder as
a dry run, which stores nothing.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from machine import ceiling, description
from transformers import BertConfig, BertModel

from repro.config.cells import plan
from repro.config.profiles import PROFILES
from repro.data.encode import Encoded
from repro.files import write_atomic
from repro.methods.finetune import FineTuning
from repro.models.classifier import Classifier
from repro.models.layers import effective_layers
from repro.models.sps import share
from repro.training import loop
from repro.training.loop import Hyperparameters

GPU = torch.cuda.is_available()
OUT = Path(__file__).parent / "results" / "gpu.json"
SIZE = (
    {}
    if GPU
    else {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": 500}
)
STEPS, WARM, BATCHES, TOGETHER = (60, 10, (32, 64), (1, 2, 4)) if GPU else (4, 1, (8,), (1, 2))
LENGTHS = {"MRPC": 53, "SST-2": 25, "QNLI": 51, "RTE": 70}  # mean tokens of an example
EXAMPLES = {"MRPC": 3668, "SST-2": 67349, "QNLI": 104743, "RTE": 2490}  # of GLUE's training sets
FORMS = {
    "teacher": (12, "none"),
    "1 layer": (1, "none"),
    "3 layers": (3, "none"),
    "3 layers, SPS": (3, "shuffled"),
    "6 layers, SPS": (6, "shuffled"),
}


def model(form: str) -> Classifier:
    """A random encoder of the given form."""
    layers, sharing = FORMS[form]
    encoder = BertModel(BertConfig(num_hidden_layers=layers, **SIZE))
    share(encoder, effective_layers(layers, sharing))
    return Classifier(encoder, 2)


def measure(form: str, batch: int, tokens: int = 53) -> dict[str, float]:
    """Examples per second of training in bfloat16, and FLOP/s over real tokens."""
    rng, network = np.random.default_rng(0), model(form)
    config = network.encoder.config
    lengths = np.clip(rng.normal(tokens, tokens / 3, batch * (STEPS + WARM)), 8, 128).astype(int)
    data = Encoded(
        [{"input_ids": rng.integers(5, config.vocab_size, n).tolist()} for n in lengths], 0
    )
    labels = torch.zeros(len(lengths), dtype=torch.long, device=loop.device())
    training = Hyperparameters(
        learning_rate=2e-5,
        batch_size=batch,
        epochs=1,
        stop_epoch=1,
        optimizer="bertadam",
        shuffle=False,
        seed=0,
        precision="bfloat16",
        evaluations_per_epoch=1,
    )
    rows, objective = np.arange(len(lengths)), FineTuning().objective(labels, {})
    loop.fit(network, data, rows[: batch * WARM], objective, training)
    start = time.perf_counter()
    loop.fit(network, data, rows[batch * WARM :], objective, training)  # ends by reading the loss
    rate = batch * STEPS / (time.perf_counter() - start)
    hidden, inner = config.hidden_size, config.intermediate_size
    depth = len(effective_layers(*FORMS[form]))
    layer = 2 * lengths * (4 * hidden**2 + 2 * hidden * inner) + 4 * lengths**2 * hidden
    flops = 3 * depth * np.mean(layer)  # the backward pass counts twice
    return {"examples per second": rate, "FLOP/s": rate * float(flops)}


def together(processes: int) -> float:
    """Total examples per second of several processes that train a 3-layer SPS student."""
    command = [sys.executable, __file__, "3 layers, SPS", str(BATCHES[0])]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    outputs = [process.communicate()[0] for process in running]
    return sum(json.loads(text.splitlines()[-1])["examples per second"] for text in outputs)


def trainings(seeds: int) -> Counter:
    """Number of trainings per (form, task) for tables 1 to 5; equal trainings are shared."""
    distinct = set()
    for table in (f"table{number}" for number in range(1, 6)):
        for cell in plan(table, "base", seeds=seeds):
            distinct.add(("teacher", cell.task, cell.seed, "", ""))
            if cell.method.kind == "student":
                form = f"{cell.layers} layer{'s' * (cell.layers > 1)}"
                form += ", SPS" * (cell.method.sharing != "none")
                distinct.add((form, cell.task, cell.seed, cell.method.loss, cell.method.ptp))
                if cell.method.ptp != "none":
                    distinct.add((form, cell.task, cell.seed, "ptp", cell.method.ptp))
    return Counter(key[:2] for key in distinct)


def hours(rates: dict[str, float], gain: float, seeds: int = 5) -> float:
    """GPU hours of all tables.

    Args:
        rates: Examples per second by form, at 53 tokens.
        gain: Speed-up by running several cells at once.
        seeds: Number of seeds.
    """
    setting, seconds = PROFILES["base"].setting, 0.0
    for (form, task), count in trainings(seeds).items():
        rate = rates.get(form)
        if rate is None:  # not measured: scaled by the number of effective layers
            sharing = "shuffled" if "SPS" in form else "none"
            rate = rates["3 layers"] * 3 / len(effective_layers(int(form[0]), sharing))
        epochs = setting.teacher.epochs if form == "teacher" else setting.student.run_epochs
        seconds += count * EXAMPLES[task] * epochs * LENGTHS[task] / 53 / rate
    return seconds / gain / 3600


def main() -> None:
    """Measure everything, or with arguments FORM BATCH one training."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    best = ceiling("bfloat16", "cuda" if GPU else "cpu", 8192 if GPU else 512)
    rows = [
        {"form": form, "batch": batch} | measure(form, batch) for form in FORMS for batch in BATCHES
    ]
    for row in rows:
        row["ceiling"] = row.pop("FLOP/s") / best
        print(json.dumps(row), flush=True)
    at_once = {str(count): together(count) for count in TOGETHER}
    rates = {row["form"]: row["examples per second"] for row in rows if row["batch"] == BATCHES[-1]}
    gain = max(at_once.values()) / at_once["1"]
    report = {
        "machine": description(),
        "ceiling TFLOP/s": best / 1e12,
        "rows": rows,
        "cells at once": at_once,
        "hours for five tables, five seeds": hours(rates, gain),
    }
    text = json.dumps(report, indent=1)
    if not GPU:
        print("dry run: every part ran; the numbers are not those of a GPU and are not stored")
    else:
        print(text)
        write_atomic(OUT, lambda temporary: temporary.write_text(text + "\n"))


if __name__ == "__main__":
    main()
