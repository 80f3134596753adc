"""What a student costs: stored and trained parameters, training, latency of an answer."""

import time

import numpy as np
import pandas as pd
import torch

from repro.config.cells import Cell
from repro.models.classifier import Classifier
from repro.runs import compute, reshaped, results, stages
from repro.runs.stages import Plan
from repro.training.loop import device, to_device

_EXAMPLES, _REPEATS = 32, 3  # dev examples whose answers are timed, and how often
_BATCH = 32  # examples that are answered at once, for the throughput


def measure(cells: list[Cell]) -> pd.DataFrame:
    """The costs of each row of a plan whose results are there, by row and task; for its first seed.

    Args:
        cells: A whole plan of a table of students.

    Returns:
        The columns of `results.costs`, and:
        trained: parameters of the kept model that were trained, without the classifier. Methods
        that reduce the width train more, which they remove: `parameters.trained` of the result.
        training_flops: floating-point operations of the trainings of this student alone, all
        phases and the teacher beside it included; teacher, its outputs and a masked-language head
        are shared by all students and not counted. Those of the embeddings and of the heads are
        neglected.
        megabytes: of the parameters in float32, those that layers share once, with the classifier.
        latency_ms: median time of an answer to one dev example, on one thread of a CPU, or a GPU.
        throughput: answers per second to batches of 32 dev examples, on the same.
        device: on which latency and throughput were measured.
    """
    rows = []
    for cell in results.of_first_seed(cells):
        plan = stages.resolve(cell)
        model = reshaped.load_model(plan.trained)
        head = sum(p.numel() for p in model.classifier.parameters())
        every = list(model.parameters())
        trained = sum(p.numel() for p in every if p.requires_grad)
        rows.append(
            results.costs(cell)
            | {
                "trained": trained - head,
                "training_flops": int(training_flops(plan)),
                "megabytes": round(4 * sum(p.numel() for p in every) / 1e6, 3),
                "latency_ms": round(1000 * seconds_per_answer(plan, model, 1), 3),
                "throughput": round(1 / seconds_per_answer(plan, model, _BATCH), 1),
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            }
        )
    return pd.DataFrame(rows)


def training_flops(plan: Plan) -> float:
    """Floating-point operations of a student's own trainings; 0 for the teacher.

    A stage's `work` counts layers times examples, forward and backward, which is three times the
    forward pass: see `layer_flops`, at the mean length of the training examples.
    """
    if plan.cell.method.kind != "student":
        return 0.0
    examples = compute.load_data(plan.trained.spec.inputs).train_tokens.examples
    lengths = [len(example["input_ids"]) for example in examples]
    # of the encoder: a narrower student is trained at its width
    config = compute.whole_encoder(plan.trained.spec.inputs).encoder.config
    one = layer_flops(float(np.mean(lengths)), config.hidden_size, config.intermediate_size)
    return 3 * one * sum(stage.work for stage in plan.own if stage.kind in results.OWN_STAGES)


def layer_flops(tokens: float, hidden: int, inner: int) -> float:
    """Floating-point operations of one layer for one example, forward.

    2 (4 H² + 2 H F) per token for the six linear maps, and 4 T H per token for attention: two
    products of T keys with H dimensions. A multiplication and an addition are two operations.

    Args:
        tokens: T.
        hidden: H.
        inner: F, the inner width of the feed-forward network.
    """
    return tokens * (8 * hidden**2 + 4 * hidden * inner + 4 * tokens * hidden)


@torch.no_grad()
def seconds_per_answer(plan: Plan, model: Classifier, batch: int) -> float:
    """Seconds of an answer to one of `batch` examples at once, on one thread.

    The median over batches of the fastest of a few answers to each, so that a busy machine
    matters little.
    """
    tokens = compute.load_data(plan.trained.spec.inputs).dev_tokens
    count = min(_EXAMPLES, len(tokens.examples) // batch)
    batches = [[*range(start * batch, (start + 1) * batch)] for start in range(max(1, count))]
    batches = [[row for row in rows if row < len(tokens.examples)] for rows in batches]
    threads, seconds = torch.get_num_threads(), np.full((1 + _REPEATS, len(batches)), np.inf)
    torch.set_num_threads(1)
    model.to(device()).eval()
    try:
        for repeat in range(1 + _REPEATS):
            for column, rows in enumerate(batches):
                start = time.perf_counter()
                model(**to_device(tokens.batch(rows), device())).logits.cpu()
                seconds[repeat, column] = (time.perf_counter() - start) / len(rows)
    finally:
        torch.set_num_threads(threads)
    return float(np.median(seconds.min(axis=0)))
