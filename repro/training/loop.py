"""The one training loop, and prediction. Neither knows a method's name: an objective is handed in."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from repro.data.encode import Encoded
from repro.errors import InputError, TrainingError
from repro.models.classifier import Classifier, Output
from repro.training import optim
from repro.training.checkpoints import Checkpoint
from repro.training.states import load_state, state_of

Objective = Callable[
    [Output, Tensor], dict[str, Tensor]
]  # (output, example indices) -> weighted terms of the loss
Evaluate = Callable[[Classifier], float]  # higher is better
Watch = Callable[
    [float, float], bool
]  # (epochs so far, score) of an evaluation -> whether to end the training
Log = Callable[
    [dict[int, dict[str, float]], int], None
]  # (values by name of each step, of how many steps)

_PATIENCE = 3  # evaluations without a gain, where training ends by patience (decision D8)
_LOOK_EVERY = 50  # steps between looks at the loss: each look makes the host wait for the GPU


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to a GPU from pinned memory, so that the host need not wait."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _batch(data: Encoded, rows: np.ndarray, where: torch.device) -> dict[str, Tensor]:
    return {name: moved(tensor, where) for name, tensor in data.batch(rows).items()}


@dataclass(frozen=True)
class Plan:
    """How long and in what steps to train; `stop_epoch` ends it within a longer schedule (0: at its end)."""

    learning_rate: float
    batch_size: int
    epochs: int
    stop_epoch: int
    optimizer: str
    shuffle: bool
    seed: int
    precision: str
    evaluations_per_epoch: int
    patience: bool = False


@dataclass
class Fitted:
    """What a training gave: the kept checkpoint's step and score (NaN: none was asked for), and all evaluations."""

    steps: int = 0
    best_step: int = 0
    best_score: float = math.nan
    history: list[dict[str, float]] = field(default_factory=list)


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str) -> str:
    """ "auto" becomes "bfloat16" where this hardware multiplies in it, else "float32"."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if native else "float32"


def autocast(precision: str) -> torch.autocast:
    """The context in which forward passes run: weights and sums stay float32."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def batches(indices: np.ndarray, plan: Plan) -> Iterator[np.ndarray]:
    """The steps' example indices, epoch after epoch; shuffled, they depend on seed and epoch alone."""
    for epoch in range(plan.stop_epoch or plan.epochs):
        order = (
            np.random.default_rng((plan.seed, epoch)).permutation(indices)
            if plan.shuffle
            else indices
        )
        for start in range(0, len(order), plan.batch_size):
            yield order[start : start + plan.batch_size]


def go_on(epochs: float, score: float) -> bool:
    """The watcher that never ends a training."""
    return False


def silent(looked: dict[int, dict[str, float]], steps: int) -> None:
    """The log that nobody reads."""


def fit(
    model: Classifier,
    data: Encoded,
    indices: np.ndarray,
    objective: Objective,
    plan: Plan,
    evaluate: Evaluate | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Watch = go_on,
    log: Log = silent,
) -> Fitted:
    """Train `model` in place on the examples of `indices`; with `evaluate`, leave it at its best parameters.

    checkpoint: where to go on from, and to note from time to time how far it is; None to do neither.
    watch: told of each evaluation; it may end the training. log: told of each step's loss terms and learning rate, and
    of each evaluation's score, whenever the loop looks at them.
    Raises InputError for an empty training set, TrainingError at the first step whose loss is not finite.
    """
    if len(indices) == 0:
        raise InputError("the training set is empty; check the data and train_cap")
    model.to(device()).train()
    with model.only_words(data.vocabulary):
        return _fit(model, data, indices, objective, plan, evaluate, checkpoint, watch, log)


def _fit(
    model: Classifier,
    data: Encoded,
    indices: np.ndarray,
    objective: Objective,
    plan: Plan,
    evaluate: Evaluate | None,
    checkpoint: Checkpoint | None,
    watch: Watch,
    log: Log,
) -> Fitted:
    per_epoch = math.ceil(len(indices) / plan.batch_size)
    schedule, every = per_epoch * plan.epochs, max(1, per_epoch // plan.evaluations_per_epoch)
    last = per_epoch * (plan.stop_epoch or plan.epochs)
    optimizer = optim.build(plan.optimizer, model, plan.learning_rate)
    progress, best = checkpoint.resume(model, optimizer) if checkpoint else ({}, {})
    fitted, unseen = Fitted(**progress), []
    for known in fitted.history:  # it is told again what it knew when the training was stopped
        watch(known["step"] / per_epoch, known["score"])
    for step, rows in islice(enumerate(batches(indices, plan), start=1), fitted.steps, None):
        rate = plan.learning_rate * optim.warmup_linear(step - 1, schedule)
        unseen.append(_step(model, data, rows, objective, optimizer, rate, plan.precision))
        fitted.steps, due = step, step % every == 0 or step == last
        noting = checkpoint is not None and step < last and checkpoint.due(step)
        if due or noting or len(unseen) == _LOOK_EVERY:  # what is noted was looked at
            looked = _read(unseen, step, plan.learning_rate, schedule)
            unseen.clear()
            log(looked, last)
        if evaluate and due:
            score = evaluate(model)
            log({step: {"score": score}}, last)
            fitted.history.append({"step": step, "score": score} | looked[step])
            if not score <= fitted.best_score:  # also where there is none yet
                fitted.best_step, fitted.best_score, best = step, score, state_of(model)
            if watch(step / per_epoch, score) or (
                plan.patience and _since_best(fitted) >= _PATIENCE
            ):
                break
        if checkpoint and noting:
            checkpoint.save(model, optimizer, vars(fitted), best)
    if best:
        load_state(model, best)
    return fitted


def _step(
    model: Classifier,
    data: Encoded,
    rows: np.ndarray,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    rate: float,
    precision: str,
) -> dict[str, Tensor]:
    """One update at learning rate `rate` on the examples `rows`; returns the loss terms, still on the device."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with autocast(precision):
        output = model(**_batch(data, rows, device()))
    terms = objective(output.float(), moved(torch.from_numpy(rows), device()))
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def _read(
    unseen: list[dict[str, Tensor]], step: int, peak: float, schedule: int
) -> dict[int, dict[str, float]]:
    """Learning rate and terms of the unseen steps, of which `step` is the last, by step.

    Raises TrainingError at the first whose loss is not finite.
    """
    rows, found = (
        torch.stack([torch.stack(list(terms.values())) for terms in unseen]).tolist(),
        {},
    )  # (steps, terms)
    for number, row in enumerate(rows, start=step - len(rows) + 1):
        terms, rate = (
            dict(zip(unseen[0], row, strict=True)),
            peak * optim.warmup_linear(number - 1, schedule),
        )
        if not math.isfinite(sum(row)):
            shown = ", ".join(f"{name} {value}" for name, value in terms.items())
            raise TrainingError(
                f"the loss is not finite at step {number}, learning rate {rate:.3g} ({shown}); "
                "lower the learning rate; the cell has no score"
            )
        found[number] = {"learning_rate": rate} | terms
    return found


def _since_best(fitted: Fitted) -> int:
    """How many evaluations came after the best."""
    return (
        len(fitted.history)
        - 1
        - [entry["step"] for entry in fitted.history].index(fitted.best_step)
    )


@torch.no_grad()
def predict(
    model: Classifier,
    data: Encoded,
    indices: np.ndarray | None = None,
    precision: str = "float32",
    batch_size: int = 128,
    states: bool = False,
) -> tuple[np.ndarray, Tensor | None]:
    """Logits (examples, classes) float32 in evaluation mode and, if asked, [CLS] states (examples, layers, hidden).

    Runs over the examples by length, so that little is padded; the answer is in the order of `indices` (None: all).
    """
    indices = np.arange(len(data.examples)) if indices is None else indices
    by_length = np.argsort([len(data.examples[i]["input_ids"]) for i in indices], kind="stable")
    was_training, where = model.training, device()
    logits, kept = [], []
    model.to(where).eval()
    for start in range(0, len(indices), batch_size):
        with autocast(precision):
            output = model(**_batch(data, indices[by_length[start : start + batch_size]], where))
        logits.append(output.logits.float().cpu())
        kept.append(output.cls_states.float().cpu() if states else torch.empty(0))
    model.train(was_training)
    back = np.argsort(by_length, kind="stable")
    return torch.cat(logits).numpy()[back], torch.cat(kept)[back] if states else None
