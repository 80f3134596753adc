"""Combinations of methods that nobody has published, on the demo with the textbook recipe.

1. PTP as the start of DistilBERT, TinyBERT, MiniLM and MiniLMv2: three-layer students that first
   learn to predict the teacher's labels, beside the same students without.
2. SPS on narrower encoders: an encoder is compressed by WID or HomoDistil on the task (seed 0) and
   exported. It is then the encoder of Table 4: its teacher and its three-layer students are trained
   like those of any other encoder.
3. A teacher trained with Compacter: three-layer students of a teacher whose encoder stayed frozen,
   beside those of the fine-tuned teacher.

mini-MRPC is left out, because the baselines do not tell depths apart there. An int8 PeaBERT is in
int8.py.

Usage: python benchmarks/combinations.py [SEEDS]. Finished cells are kept. Writes
results/combinations.csv below this folder: average differences in points with 95 % intervals.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from repro import paths
from repro.analysis.comparisons import gains
from repro.analysis.groups import Group, groups
from repro.analysis.inference import combine
from repro.config.cells import Cell, plan
from repro.models import export
from repro.runs import cache, compute, machine, reshaped, results
from repro.runs.cache import Artefact
from repro.runs.distil import stock_model
from repro.runs.engine import missing_stages, open_workers, run_cells, run_stages
from repro.runs.finish import finish
from repro.runs.stages import Plan, Stage, resolve
from repro.training.loop import predict

OUT = Path(__file__).parent / "results" / "combinations.csv"
TASKS = ("RTE", "SST-2", "QNLI")
STARTED = ("DistilBERT3", "TinyBERT3", "MiniLM3", "MiniLMv2-3")
NARROWED = ("WID", "HomoDistil")
TAUGHT = ("BERT3-PatientKD", "PeaBERT3")


def main(seeds: int) -> None:
    """Train what is missing, and write and print every difference."""
    related = plan("related", "demo", ",".join(TASKS), seeds, "textbook")
    plain = [cell for cell in related if cell.row in STARTED]
    started = [
        replace(cell, row=f"{cell.row}+PTP", method=replace(cell.method, ptp="both"))
        for cell in plain
    ]
    narrowed = [cell for cell in related if cell.row in NARROWED and cell.seed == 0]
    run_cells([*plain, *started, *narrowed])
    by_key = groups([*plain, *started])
    for source in narrowed:  # each has an encoder of its own
        cells = students_of(source, seeds)
        run_cells(cells)
        by_key |= groups(cells)
    taught = students_of_adapters(related)
    own_teacher = [cell for cell in related if cell.row in (*TAUGHT, "BERT-base", "Compacter")]
    run_cells(own_teacher)
    by_key |= groups([*taught, *own_teacher])
    pairs = [(f"{row}+PTP", row) for row in STARTED]
    pairs += [("Compacter", "BERT-base"), *((f"{row} of Compacter", row) for row in TAUGHT)]
    for method in NARROWED:
        rows = [f"{row} on {method}" for row in ("BERT3", "SPS-1", "SPS-2")]
        pairs += [(rows[1], rows[0]), (rows[2], rows[1])]
    frame = pd.DataFrame([compared(by_key, *pair) for pair in pairs]).assign(seeds=seeds)
    frame.round(2).to_csv(OUT, index=False, lineterminator="\n")
    print(frame.round(2).to_string(index=False))


def students_of(source: Cell, seeds: int) -> list[Cell]:
    """The cells of Table 4 whose encoder is the compressed one of a cell."""
    folder = paths.cache() / "narrowed" / source.id
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        export.write(*stock_model(resolve(source)), folder)
    task = source.task.removeprefix("mini-")
    cells = plan("table4", "demo", task, seeds, "textbook", {"backbone": str(folder)})
    return [replace(cell, row=f"{cell.row} on {source.row}") for cell in cells]


def students_of_adapters(related: list[Cell]) -> list[Cell]:
    """The students TAUGHT of a teacher trained with Compacter; trains those that are missing."""
    adapted = [cell for cell in related if cell.row == "Compacter"]
    run_cells(adapted)
    outputs = {(cell.task, cell.seed): adapted_outputs(resolve(cell)) for cell in adapted}
    cells = [
        replace(cell, row=f"{cell.row} of Compacter") for cell in related if cell.row in TAUGHT
    ]
    plans = [with_teacher(resolve(cell), outputs) for cell in cells]
    missing = missing_stages(stage for taught in plans for stage in taught.stages)
    with open_workers("processes") as pool:
        for _, error in run_stages(missing, pool):
            if error is not None:
                raise error
    for taught in plans:
        if not results.done(taught.cell):
            finish(taught)
    return cells


def with_teacher(fine_tuned: Plan, outputs: dict[tuple[str, int], Stage]) -> Plan:
    """The same plan with other outputs of the teacher, by task and seed."""

    def replaced(stage: Stage) -> Stage:
        if stage.kind == "outputs":
            return outputs[fine_tuned.cell.task, stage.parent("teacher").spec.training.seed]
        return replace(stage, parents=tuple(map(replaced, stage.parents)))

    stages, own = (
        tuple(replaced(stage) for stage in every if stage.kind != "teacher")
        for every in (fine_tuned.stages, fine_tuned.own)
    )
    return replace(fine_tuned, stages=stages, own=own)


def adapted_outputs(adapted: Plan) -> Stage:
    """A stage with the predictions and states of a model with adapters, computed here."""
    spec = adapted.stage("outputs").spec
    stage = Stage(spec, (adapted.trained,), f"outputs of {adapted.cell.id}")

    def outputs() -> Artefact:
        start, data = time.perf_counter(), compute.load_data(spec.inputs)
        model = reshaped.load_model(adapted.trained)
        logits, states = predict(model, data.train_tokens, precision=spec.precision, states=True)
        dev_logits, _ = predict(model, data.dev_tokens, precision=spec.precision)
        assert states is not None
        tensors = {"train.logits": torch.from_numpy(logits), "train.cls": states}
        tensors |= {"dev.logits": torch.from_numpy(dev_logits)}
        seconds = time.perf_counter() - start
        return Artefact(tensors, {"seconds": seconds} | machine.description())

    cache.get(stage.kind, stage.key, outputs)
    return stage


def compared(by_key: dict[tuple[str, str], Group], new: str, old: str) -> dict:
    """The averages of two rows over TASKS and their difference, in points."""
    by_task = gains(by_key, new, old)
    gain = combine(list(by_task.values()))
    old_mean, new_mean = (
        sum(by_key[row, task].scores.mean() for task in by_task) / len(by_task)
        for row in (old, new)
    )
    return {
        "method": new,
        "beside": old,
        "mean": new_mean,
        "mean beside": old_mean,
        "difference": gain.estimate,
        "low": gain.low,
        "high": gain.high,
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
