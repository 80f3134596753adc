"""One distillation, done by each contender: python benchmarks/contenders.py NAME TASK [WITHOUT]; prints one JSON line.

The same data, teacher, student (3 layers with SPS), first weights, losses, batches (32, in the file's order) and steps.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from repro.config.cells import Cell, plan
from repro.config.profiles import override
from repro.config.tasks import task
from repro.data import metrics
from repro.data.encode import Encoded
from repro.methods import patient_kd, pea_kd
from repro.models import classifier, fast
from repro.models.classifier import Classifier, Output
from repro.runs import compute, memory, stages
from repro.training import loop, optim
from repro.training.states import load_state

EXAMPLES, DEV, LENGTH, WARM = (
    int(os.environ.get("EXAMPLES", 768)),
    400,
    128,
    2,
)  # WARM: steps before the clock starts


@dataclass
class Case:
    """What all contenders are given; `tick` is called at the start of every step."""

    cell: Cell
    data: stages.Data
    teacher: Classifier
    student: Classifier
    times: list[float]

    def tick(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Matched layers, student's and teacher's, from 1."""
        return compute._pairs(self.cell, len(classifier.layers_of(self.teacher.encoder)))

    def loss(self, output: Output, labels: Tensor, logits: Tensor, states: Tensor) -> Tensor:
        """The package's three terms on one batch; states: (batch, pairs, hidden) of the teacher."""
        objective = patient_kd.objective(
            labels, logits, states, self.pairs, self.cell.setting, self.cell.recipe
        )
        return torch.stack(list(objective(output, torch.arange(len(labels))).values())).sum()


class Plain(nn.Module):
    """A Classifier's weights in the library's own padded encoder, with torch's dropout."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.encoder, self.pooler, self.classifier, self.dropout = (
            model.encoder,
            model.pooler,
            model.classifier,
            nn.Dropout(0.1),
        )
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, nn.Dropout(child.p))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Output:
        found = self.encoder(
            input_ids, attention_mask, token_type_ids, output_hidden_states=True
        ).hidden_states[1:]
        states = torch.stack([state[:, 0] for state in found], 1)  # (batch, layers, hidden)
        pooled = torch.tanh(self.pooler(states[:, -1]))
        return Output(self.classifier(self.dropout(pooled)), states, pooled)


def case(name: str, precision: str) -> Case:
    """The task's first examples, a teacher fine-tuned on them (kept in the cache), and the student as it starts."""
    real = "GLUE_DIR" in os.environ
    changes = {"train_cap": EXAMPLES, "dev_cap": DEV, "student.epochs": 1} | (
        {"max_length": LENGTH} if real else {}
    )
    cells = plan("table4", "cpu" if real else "demo", name, 1, overrides=changes)
    cell = next(cell for cell in cells if cell.row == "SPS-2")
    stage = stages.stages(cell)[0]  # the teacher, made in one precision for all
    teacher = classifier.teacher(cell.setting.backbone, 2)
    load_state(teacher, compute.read(stage).tensors)
    cell = replace(cell, setting=override(cell.setting, {"precision": precision}))
    torch.manual_seed(0)
    return Case(cell, stages.load_data(cell), teacher.eval(), pea_kd.build(cell, 2), [])


def padded(tokens: Encoded, labels: np.ndarray) -> TensorDataset:
    """input_ids, attention_mask, token_type_ids, labels: (examples, LENGTH), as the usual collators make them."""
    columns = {
        name: torch.zeros(len(labels), LENGTH, dtype=torch.long)
        for name in ("ids", "mask", "types")
    }
    for row, example in enumerate(tokens.examples):
        size = len(example["input_ids"])
        columns["ids"][row, :size] = torch.tensor(example["input_ids"])
        columns["types"][row, :size] = torch.tensor(example.get("token_type_ids", [0] * size))
        columns["mask"][row, :size] = 1
    return TensorDataset(
        columns["ids"], columns["mask"], columns["types"], torch.from_numpy(labels)
    )


@torch.no_grad()
def taught(
    teacher: nn.Module, inputs: list[Tensor], pairs: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """The teacher's logits and its matched states of one batch."""
    output = teacher(*inputs)
    return output.logits, output.cls_states[:, [target - 1 for _, target in pairs]]


def trainer(case: Case) -> None:
    """a. Hugging Face's Trainer with a loss of its own: the teacher runs beside the student, on padded batches."""
    from transformers import Trainer, TrainingArguments

    teacher = Plain(case.teacher).eval()

    class Distiller(Trainer):
        def compute_loss(
            self, model: nn.Module, inputs: dict, return_outputs: bool = False, **_: object
        ) -> Tensor:
            case.tick()
            labels, tokens = (
                inputs["labels"],
                [inputs[k] for k in ("input_ids", "attention_mask", "token_type_ids")],
            )
            return case.loss(model(*tokens), labels, *taught(teacher, tokens, case.pairs))

        def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
            return torch.utils.data.SequentialSampler(range(len(case.data.train.labels)))

    names = ("input_ids", "attention_mask", "token_type_ids", "labels")
    rows = [
        dict(zip(names, row, strict=True))
        for row in padded(case.data.train_tokens, case.data.train.labels)
    ]
    budget = case.cell.setting.student
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=budget.batch_size,
            num_train_epochs=1,
            use_cpu=True,
            save_strategy="no",
            learning_rate=budget.learning_rate,
            weight_decay=0.01,
            warmup_steps=0.1,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
        )
        Distiller(Plain(case.student), arguments, train_dataset=rows).train()


def textbrewer(case: Case) -> None:
    """b. TextBrewer's GeneralDistiller: hidden-state matches, and T² put back into its weight of the soft loss."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import get_linear_schedule_with_warmup

    setting, student, matched = case.cell.setting, Plain(case.student), case.pairs

    def adaptor(side: int, batch: tuple, output: Output) -> dict:
        if side == 0:
            case.tick()  # the adaptor of the student runs once a step
        states = nn.functional.normalize(
            output.cls_states[:, [pair[side] - 1 for pair in matched]], dim=-1
        )
        hard = [nn.functional.cross_entropy(output.logits, batch[-1])] if side == 0 else []
        return {"logits": [output.logits], "hidden": [states], "losses": hard}

    match = {
        "layer_T": 0,
        "layer_S": 0,
        "feature": "hidden",
        "loss": "hidden_mse",
        "weight": setting.beta,
    }
    classes = 2 if case.cell.recipe.kl_reduction == "mean" else 1
    distil = DistillationConfig(
        temperature=setting.temperature,
        hard_label_weight=1 - setting.alpha,
        intermediate_matches=[match],
        kd_loss_weight=setting.alpha * setting.temperature**2 / classes,
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=setting.student.learning_rate)
    loader = DataLoader(
        padded(case.data.train_tokens, case.data.train.labels), setting.student.batch_size
    )
    schedule = {"num_warmup_steps": len(loader) // 10, "num_training_steps": len(loader)}
    with tempfile.TemporaryDirectory() as folder:
        train = TrainingConfig(output_dir=folder, device="cpu", log_dir=None)
        distiller = GeneralDistiller(
            train,
            distil,
            _Unpacking(Plain(case.teacher)),
            _Unpacking(student),
            partial(adaptor, 1),
            partial(adaptor, 0),
        )
        with distiller:
            distiller.train(
                optimizer, loader, 1, get_linear_schedule_with_warmup, schedule, max_grad_norm=1.0
            )


class _Unpacking(nn.Module):
    """TextBrewer hands the whole batch, labels too, to a model."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *batch: Tensor) -> Output:
        return self.inner(*batch[:3])


def cached(case: Case) -> None:
    """c. The authors' way: the teacher's outputs stored once, padded batches in the file's order."""
    teacher, student = Plain(case.teacher).eval(), Plain(case.student).train()
    budget = case.cell.setting.student
    data = padded(case.data.train_tokens, case.data.train.labels)
    stored = [
        taught(teacher, batch[:3], case.pairs) for batch in DataLoader(data, budget.batch_size)
    ]
    optimizer = optim.build("bertadam", student, budget.learning_rate)
    for step, (batch, known) in enumerate(
        zip(DataLoader(data, budget.batch_size), stored, strict=True)
    ):
        case.tick()
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * optim.warmup_linear(step, len(stored))
        optimizer.zero_grad()
        case.loss(student(*batch[:3]), batch[3], *known).backward()
        optimizer.step()


def package(case: Case) -> None:
    """e. This package: its own stages' code."""
    precision = loop.resolve_precision(case.cell.setting.precision)
    logits, states = loop.predict(
        case.teacher, case.data.train_tokens, precision=precision, states=True
    )
    known = {"train.logits": torch.from_numpy(logits), "train.cls": states}
    objective = compute._objective(case.cell, case.data, known)

    def ticking(output: Output, rows: Tensor) -> dict[str, Tensor]:
        case.tick()
        return objective(output, rows)

    steps = compute._plan(case.cell, case.cell.setting.student, shuffle=False)
    loop.fit(
        case.student, case.data.train_tokens, np.arange(len(case.data.train.labels)), ticking, steps
    )


CONTENDERS: dict[str, tuple[Callable[[Case], None], str]] = {
    "trainer": (trainer, "float32"),
    "textbrewer": (textbrewer, "float32"),
    "cached": (cached, "float32"),
    "package": (package, "auto"),
    "package float32": (package, "float32"),
}


def whole_last_layer(
    encoder: nn.Module,
    layers: nn.ModuleList,
    layout: fast.Layout,
    input_ids: Tensor,
    token_type_ids: Tensor | None = None,
) -> Tensor:
    """`fast.cls_states` with the last layer computed for every token."""
    states, kept = fast._embed(encoder, layout, input_ids, token_type_ids), []
    for layer in layers:
        states = fast._run_layer(layer, states, states, layout)
        kept.append(states[layout.starts])
    return torch.stack(kept, 1)[layout.back]


class Unfused(optim.BertAdam):
    """BertAdam without the fused kernel."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        for group in self.param_groups:
            group["fused"] = False


# Each of the package's means, and what takes it away.
MEANS: dict[str, Callable[[], object]] = {
    "hardly any padding": lambda: setattr(fast.Layout, "fitting", fast.Layout.padded),
    "few shapes": lambda: setattr(fast, "_ROWS", 1),
    "[CLS] alone at the top": lambda: setattr(classifier, "cls_states", whole_last_layer),
    "cheap dropout": lambda: setattr(classifier, "use_fast_dropout", lambda model: None),
    "embeddings that occur": lambda: setattr(Classifier, "only_words", lambda *_: nullcontext()),
    "fused optimiser": lambda: optim.OPTIMIZERS.update(bertadam=Unfused),
    "memory kept": lambda: setattr(memory, "keep", lambda: None),
}


def flops(case: Case) -> float:
    """Forward and backward of the student on real tokens, per example, without embeddings and heads.

    The usual count, of whole layers; that the last one need not be whole is a way to be faster, not less to do.
    """
    config, depth = case.student.encoder.config, len(classifier.layers_of(case.student.encoder))
    tokens = np.array(
        [len(example["input_ids"]) for example in case.data.train_tokens.examples], float
    )
    hidden, inner = config.hidden_size, config.intermediate_size
    forward = 2 * tokens * (4 * hidden**2 + 2 * hidden * inner) + 4 * tokens**2 * hidden
    return float(3 * depth * forward.mean())


def main(name: str, task_name: str, without: str = "") -> None:
    if without:
        MEANS[without]()
    contender, precision = CONTENDERS[name]
    if name.startswith("package"):
        memory.keep()
    made = case(task_name, precision)
    start = time.perf_counter()
    contender(made)
    made.tick()
    kept = time.perf_counter() - start
    logits, _ = loop.predict(made.student, made.data.dev_tokens)
    dev = metrics.score(task(made.cell.task).metric, made.data.dev.labels, logits.argmax(1))
    batch, steps = made.cell.setting.student.batch_size, len(made.times) - 1 - WARM
    print(
        json.dumps(
            {
                "examples per second": batch * steps / (made.times[-1] - made.times[WARM]),
                "cell seconds": kept,
                "steps": len(made.times) - 1,
                "dev": float(dev),
                "flops per example": flops(made),
                "precision": loop.resolve_precision(precision),
                "peak memory GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
