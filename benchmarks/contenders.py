"""One distillation by each contender: `python benchmarks/contenders.py NAME TASK [WITHOUT]`.

Prints one line of JSON. All contenders have the same data, teacher, student (3 layers with SPS),
initial weights, losses, batches (32 examples, in the order of the file) and number of steps.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from optimisations import OPTIMISATIONS
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from repro.config.cells import plan
from repro.config.tasks import task
from repro.data import metrics
from repro.data.encode import Encoded
from repro.methods.patient_kd import PatientKD
from repro.models.classifier import Classifier, Output
from repro.models.sps import layers_of
from repro.runs import compute, machine, stages
from repro.training import loop, optim
from repro.training.loop import Hyperparameters

EXAMPLES, DEV = int(os.environ.get("EXAMPLES", 768)), 400
LENGTH = 128 if "GLUE_DIR" in os.environ else 64  # tokens; the embedded encoder has 64 positions
WARM = 2  # steps before the clock starts


@dataclass
class Case:
    """What all contenders are given.

    Attributes:
        task: The name of the task.
        data: Its splits.
        teacher: The fine-tuned teacher.
        student: The untrained student.
        loss: Patient KD.
        training: The student's hyperparameters.
        times: The start of every step, and the end.
    """

    task: str
    data: compute.Data
    teacher: Classifier
    student: Classifier
    loss: PatientKD
    training: Hyperparameters
    times: list[float]

    def tick(self) -> None:
        """Store the time; called at the start of every step."""
        self.times.append(time.perf_counter())

    def batch_loss(self, output: Output, labels: Tensor, logits: Tensor, states: Tensor) -> Tensor:
        """The loss of one batch.

        Args:
            output: The student's output.
            labels: Gold labels (batch,).
            logits: The teacher's logits (batch, classes).
            states: The teacher's [CLS] states (batch, layers, hidden).
        """
        objective = self.loss.objective(labels, {"train.logits": logits, "train.cls": states})
        return torch.stack(list(objective(output, torch.arange(len(labels))).values())).sum()


class Plain(nn.Module):
    """A Classifier's weights in the library's own padded encoder, with torch's dropout."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.encoder, self.pooler, self.classifier = model.encoder, model.pooler, model.classifier
        self.dropout = nn.Dropout(0.1)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, nn.Dropout(child.p))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Output:
        hidden_states = self.encoder(
            input_ids, attention_mask, token_type_ids, output_hidden_states=True
        ).hidden_states[1:]
        states = torch.stack([state[:, 0] for state in hidden_states], 1)  # (batch, layers, hidden)
        pooled = torch.tanh(self.pooler(states[:, -1]))
        return Output(self.classifier(self.dropout(pooled)), states, pooled)


def build_case(name: str, precision: str) -> Case:
    """The first examples of a task, a teacher trained on them, and an untrained student."""
    real = "GLUE_DIR" in os.environ
    overrides = {"train_cap": EXAMPLES, "dev_cap": DEV, "student.epochs": 1}
    if real:
        overrides["max_length"] = LENGTH
    cells = plan("table4", "cpu" if real else "demo", name, 1, overrides=overrides)
    resolved = stages.resolve(next(cell for cell in cells if cell.row == "SPS-2"))
    spec = resolved.trained.spec
    training = replace(spec.training, shuffle=False, precision=loop.resolve_precision(precision))
    teacher = compute.load_model(resolved.stage("teacher")).eval()  # in one precision for all
    data = compute.load_data(spec.inputs)
    torch.manual_seed(0)
    student = compute.build(resolved.trained)
    return Case(spec.inputs.task, data, teacher, student, spec.loss, training, [])


def padded(tokens: Encoded, labels: np.ndarray) -> TensorDataset:
    """Ids, mask and types (examples, LENGTH) and labels, as the usual collators pad them."""
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
def teacher_outputs(teacher: nn.Module, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The teacher's logits and [CLS] states of one batch."""
    output = teacher(*inputs)
    return output.logits, output.cls_states


def trainer(case: Case) -> None:
    """a. Hugging Face's Trainer with a custom loss; the teacher runs in every step."""
    from transformers import Trainer, TrainingArguments

    teacher = Plain(case.teacher).eval()
    names = ("input_ids", "attention_mask", "token_type_ids", "labels")

    class Distiller(Trainer):
        def compute_loss(
            self, model: nn.Module, inputs: dict, return_outputs: bool = False, **_: object
        ) -> Tensor:
            case.tick()
            tokens = [inputs[name] for name in names[:3]]
            known = teacher_outputs(teacher, tokens)
            return case.batch_loss(model(*tokens), inputs["labels"], *known)

        def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
            return torch.utils.data.SequentialSampler(range(len(case.data.train.labels)))

    examples = padded(case.data.train_tokens, case.data.train.labels)
    rows = [dict(zip(names, example, strict=True)) for example in examples]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=case.training.batch_size,
            num_train_epochs=1,
            use_cpu=True,
            save_strategy="no",
            learning_rate=case.training.learning_rate,
            weight_decay=0.01,
            warmup_steps=0.1,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
        )
        Distiller(Plain(case.student), arguments, train_dataset=rows).train()


def textbrewer(case: Case) -> None:
    """b. TextBrewer's GeneralDistiller; its weight of the soft loss includes the factor T²."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import get_linear_schedule_with_warmup

    loss, training, student = case.loss, case.training, Plain(case.student)

    def adaptor(side: int, batch: tuple, output: Output) -> dict:
        if side == 0:
            case.tick()  # the student's adaptor runs once per step
        layers = [pair[side] - 1 for pair in loss.pairs]
        states = nn.functional.normalize(output.cls_states[:, layers], dim=-1)
        hard = [nn.functional.cross_entropy(output.logits, batch[-1])] if side == 0 else []
        return {"logits": [output.logits], "hidden": [states], "losses": hard}

    match = {
        "layer_T": 0,
        "layer_S": 0,
        "feature": "hidden",
        "loss": "hidden_mse",
        "weight": loss.beta,
    }
    kd = loss.kd
    classes = 2 if kd.reduction == "mean" else 1
    distil = DistillationConfig(
        temperature=kd.temperature,
        hard_label_weight=1 - kd.alpha,
        intermediate_matches=[match],
        kd_loss_weight=kd.alpha * kd.temperature**2 / classes,
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=training.learning_rate)
    data = padded(case.data.train_tokens, case.data.train.labels)
    loader = DataLoader(data, training.batch_size)
    schedule = {"num_warmup_steps": len(loader) // 10, "num_training_steps": len(loader)}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(output_dir=folder, device="cpu", log_dir=None)
        distiller = GeneralDistiller(
            config,
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
    """Drops the labels, which TextBrewer passes to models with the batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *batch: Tensor) -> Output:
        return self.inner(*batch[:3])


def cached(case: Case) -> None:
    """c. As the authors: the teacher's outputs are stored once; batches are padded."""
    teacher, student = Plain(case.teacher).eval(), Plain(case.student).train()
    data = padded(case.data.train_tokens, case.data.train.labels)
    loader, learning_rate = DataLoader(data, case.training.batch_size), case.training.learning_rate
    stored = [teacher_outputs(teacher, batch[:3]) for batch in loader]
    optimizer = optim.build("bertadam", student, learning_rate)
    for step, (batch, known) in enumerate(zip(loader, stored, strict=True)):
        case.tick()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * optim.warmup_linear(step, len(stored))
        optimizer.zero_grad()
        case.batch_loss(student(*batch[:3]), batch[3], *known).backward()
        optimizer.step()


def package(case: Case) -> None:
    """d. This package."""
    data, training = case.data, case.training
    logits, states = loop.predict(
        case.teacher, data.train_tokens, precision=training.precision, states=True
    )
    labels = torch.from_numpy(data.train.labels)
    teacher = {"train.logits": torch.from_numpy(logits), "train.cls": states}
    objective = case.loss.objective(labels, teacher)

    def timed_objective(output: Output, rows: Tensor) -> dict[str, Tensor]:
        case.tick()
        return objective(output, rows)

    rows = np.arange(len(labels))
    loop.fit(case.student, data.train_tokens, rows, timed_objective, training)


CONTENDERS: dict[str, tuple[Callable[[Case], None], str]] = {
    "trainer": (trainer, "float32"),
    "textbrewer": (textbrewer, "float32"),
    "cached": (cached, "float32"),
    "package": (package, "auto"),
    "package float32": (package, "float32"),
}


def flops(case: Case) -> float:
    """FLOP per example of the student's forward and backward pass over real tokens.

    Without embeddings and heads. Layers are counted as a whole, also the last, of which the package
    computes [CLS] only.
    """
    config, depth = case.student.encoder.config, len(layers_of(case.student.encoder))
    examples = case.data.train_tokens.examples
    tokens = np.array([len(example["input_ids"]) for example in examples], float)
    hidden, inner = config.hidden_size, config.intermediate_size
    forward = 2 * tokens * (4 * hidden**2 + 2 * hidden * inner) + 4 * tokens**2 * hidden
    return float(3 * depth * forward.mean())


def main(name: str, task_name: str, without: str = "") -> None:
    """Run one contender, perhaps without one optimisation, and print its measurements."""
    if without:
        OPTIMISATIONS[without]()
    contender, precision = CONTENDERS[name]
    if name.startswith("package"):
        machine.keep_memory()
    case = build_case(task_name, precision)
    start = time.perf_counter()
    contender(case)
    case.tick()
    seconds = time.perf_counter() - start
    logits, _ = loop.predict(case.student, case.data.dev_tokens)
    score = metrics.score(task(case.task).metric, case.data.dev.labels, logits.argmax(1))
    timed_steps = len(case.times) - 1 - WARM
    timed_examples = case.training.batch_size * timed_steps
    measurements = {
        "examples per second": timed_examples / (case.times[-1] - case.times[WARM]),
        "cell seconds": seconds,
        "steps": len(case.times) - 1,
        "dev": float(score),
        "flops per example": flops(case),
        "precision": case.training.precision,
        "peak memory GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(json.dumps(measurements))


if __name__ == "__main__":
    main(*sys.argv[1:])
