"""On a GPU, in one command: ceiling, rates of teacher and students of BERT's base size, several cells at once, and from
them the cost of all five tables with five seeds. Random weights and ids: for speed they are as good as any.

Run: python benchmarks/gpu.py (under 8 minutes). Without a GPU it is a dry run of the same code on a tiny encoder, which
prints and keeps nothing.
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
from repro.methods import finetune
from repro.models.classifier import Classifier
from repro.models.layers import effective_layers
from repro.models.sps import share
from repro.training import loop
from repro.training.loop import Plan

GPU = torch.cuda.is_available()
OUT = Path(__file__).parent / "results" / "gpu.json"
SIZE = (
    {}
    if GPU
    else {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": 500}
)
STEPS, WARM, BATCHES, TOGETHER = (60, 10, (32, 64), (1, 2, 4)) if GPU else (4, 1, (8,), (1, 2))
LENGTHS = {"MRPC": 53, "SST-2": 25, "QNLI": 51, "RTE": 70}  # mean tokens of a training example
EXAMPLES = {"MRPC": 3668, "SST-2": 67349, "QNLI": 104743, "RTE": 2490}  # of GLUE's training sets
FORMS = {
    "teacher": (12, "none"),
    "1 layer": (1, "none"),
    "3 layers": (3, "none"),
    "3 layers, SPS": (3, "shuffled"),
    "6 layers, SPS": (6, "shuffled"),
}


def model(form: str) -> Classifier:
    """A random encoder of that form."""
    layers, sharing = FORMS[form]
    encoder = BertModel(BertConfig(num_hidden_layers=layers, **SIZE))
    share(encoder, effective_layers(layers, sharing))
    return Classifier(encoder, 2)


def measure(form: str, batch: int, tokens: int = 53) -> dict[str, float]:
    """Examples a second of training in bfloat16, and the share of the ceiling, real tokens only."""
    rng, made = np.random.default_rng(0), model(form)
    lengths = np.clip(rng.normal(tokens, tokens / 3, batch * (STEPS + WARM)), 8, 128).astype(int)
    data = Encoded(
        [
            {"input_ids": rng.integers(5, made.encoder.config.vocab_size, n).tolist()}
            for n in lengths
        ],
        0,
    )
    labels = torch.zeros(len(lengths), dtype=torch.long, device=loop.device())
    steps = Plan(2e-5, batch, 1, 0, "bertadam", False, 0, "bfloat16", 1)
    rows = np.arange(len(lengths))
    loop.fit(made, data, rows[: batch * WARM], finetune.objective(labels), steps)
    start = time.perf_counter()
    loop.fit(
        made, data, rows[batch * WARM :], finetune.objective(labels), steps
    )  # its last act waits for the GPU
    rate = batch * STEPS / (time.perf_counter() - start)
    hidden, inner = made.encoder.config.hidden_size, made.encoder.config.intermediate_size
    depth = len(effective_layers(*FORMS[form]))
    flops = (
        3
        * depth
        * np.mean(2 * lengths * (4 * hidden**2 + 2 * hidden * inner) + 4 * lengths**2 * hidden)
    )
    return {"examples per second": rate, "FLOP/s": rate * float(flops)}


def together(processes: int) -> float:
    """Examples a second in sum of so many processes that train a 3-layer SPS student at once."""
    command = [sys.executable, __file__, "3 layers, SPS", str(BATCHES[0])]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return sum(
        json.loads(one.communicate()[0].splitlines()[-1])["examples per second"] for one in running
    )


def trainings(seeds: int) -> Counter:
    """How often a student of each (form, task) is trained, for tables 1 to 5: cells that agree share a training."""
    distinct = set()
    for table in (f"table{number}" for number in range(1, 6)):
        for cell in plan(table, "base", seeds=seeds):
            distinct.add(("teacher", cell.task, cell.seed, "", ""))
            if cell.method.kind == "student":
                form = f"{cell.layers} layer{'s' * (cell.layers > 1)}{', SPS' * (cell.method.sharing != 'none')}"
                distinct.add((form, cell.task, cell.seed, cell.method.loss, cell.method.ptp))
                if cell.method.ptp != "none":
                    distinct.add((form, cell.task, cell.seed, "ptp", cell.method.ptp))
    return Counter(key[:2] for key in distinct)


def hours(rates: dict[str, float], gain: float, seeds: int = 5) -> float:
    """GPU hours of all tables, from the rates at 53 tokens and what several cells at once gain."""
    setting, seconds = PROFILES["base"].setting, 0.0
    for (form, task), count in trainings(seeds).items():
        depth = len(
            effective_layers(
                *FORMS.get(
                    form,
                    (
                        int(form[0]) if form[0].isdigit() else 12,
                        "shuffled" if "SPS" in form else "none",
                    ),
                )
            )
        )
        rate = rates.get(form) or rates["3 layers"] * 3 / depth
        epochs = setting.teacher.epochs if form == "teacher" else setting.student.run_epochs
        seconds += count * EXAMPLES[task] * epochs * LENGTHS[task] / 53 / rate
    return seconds / gain / 3600


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    best = ceiling("bfloat16", "cuda" if GPU else "cpu", 8192 if GPU else 512)
    rows = [
        {"form": form, "batch": batch} | measure(form, batch) for form in FORMS for batch in BATCHES
    ]
    for row in rows:
        row["ceiling"] = row.pop("FLOP/s") / best
        print(
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in row.items()
            },
            flush=True,
        )
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
    print(
        text
        if GPU
        else "dry run: every part ran; its numbers say nothing of a GPU and are not kept"
    )
    if GPU:
        write_atomic(OUT, lambda temporary: temporary.write_text(text + "\n"))


if __name__ == "__main__":
    main()
