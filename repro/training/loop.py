"""The training loop and prediction.

Neither depends on a method: `fit` minimises the objective that it is given.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.data.encode import Encoded
from repro.errors import InputError, TrainingError
from repro.training import optim
from repro.training.states import load_state, state_of

Objective = Callable[
    [Any, Tensor], dict[str, Tensor]
]  # (model output, rows) -> weighted loss terms
Evaluate = Callable[[Any], float]  # a model -> its score; higher is better
LOG_EVERY = 50  # steps between reads of the loss: on a GPU each read waits for the device


@dataclass(frozen=True)
class Hyperparameters:
    """How one model is trained.

    Attributes:
        learning_rate: Peak of the schedule: linear warm-up over the first tenth, then linear to 0.
        batch_size: Examples per step.
        epochs: Length of the schedule.
        stop_epoch: How many of these epochs are run.
        optimizer: "bertadam" or "adamw" (decision D21).
        shuffle: Whether each epoch has a new order, drawn from seed and epoch (decision D16).
        seed: Seed of the initial head, of dropout and of the order of the data.
        precision: "float32" or "bfloat16" (forward passes; weights stay float32).
        evaluations_per_epoch: How often the model is evaluated; see `Training.evaluation_due`.
        patience: Stop after so many evaluations without a gain; 0 to never stop (decision D8).
    """

    learning_rate: float
    batch_size: int
    epochs: int
    stop_epoch: int
    optimizer: str
    shuffle: bool
    seed: int
    precision: str
    evaluations_per_epoch: int
    patience: int = 0


@dataclass
class Progress:
    """How far a training is: what a checkpoint stores besides tensors."""

    step: int = 0
    best_step: int = 0
    best_score: float = math.nan  # NaN before the first evaluation
    history: list[dict[str, float]] = field(default_factory=list)  # one entry per evaluation


class Callback:
    """What happens beside the optimisation. Each hook does nothing unless overridden."""

    def on_start(self, training: "Training") -> None:
        """Called before the first step."""

    def on_step(self, training: "Training") -> None:
        """Called after each step."""

    def on_log(self, training: "Training", logged: dict[int, dict[str, float]]) -> None:
        """Called with values by step and name: learning rate and loss terms, or a score."""

    def on_end(self, training: "Training") -> None:
        """Called after the last step."""


class Training:
    """One training in progress, as its callbacks see it.

    Attributes:
        progress: Step, best score and history so far.
        best_state: Parameters at the best evaluation; empty before the first.
        stop: A callback sets it to end the training after this step.
    """

    def __init__(
        self,
        model: Any,
        examples: int,
        hyperparameters: Hyperparameters,
        callbacks: Sequence[Callback],
    ) -> None:
        self.model, self.hyperparameters, self.callbacks = model, hyperparameters, callbacks
        rate, name = hyperparameters.learning_rate, hyperparameters.optimizer
        self.optimizer = optim.build(name, model, rate)
        self.steps_per_epoch = math.ceil(examples / hyperparameters.batch_size)
        self.last_step = self.steps_per_epoch * hyperparameters.stop_epoch
        self.progress, self.best_state, self.stop = Progress(), dict[str, Tensor](), False
        self.latest: dict[str, float] = {}  # learning rate and loss terms of the last step read
        self._unread: list[dict[str, Tensor]] = []  # loss terms that are still on the device

    @property
    def evaluation_due(self) -> bool:
        """Whether to evaluate: every so many steps, rounded down, and at the end."""
        every = max(1, self.steps_per_epoch // self.hyperparameters.evaluations_per_epoch)
        return self.progress.step % every == 0 or self.progress.step == self.last_step

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        schedule = self.steps_per_epoch * self.hyperparameters.epochs
        return self.hyperparameters.learning_rate * optim.warmup_linear(step - 1, schedule)

    def record(self, step: int, terms: dict[str, Tensor]) -> None:
        """Note a finished step; its loss is read later, together with others."""
        self.progress.step = step
        self._unread.append({name: term.detach() for name, term in terms.items()})
        if len(self._unread) == LOG_EVERY:
            self.read_losses()

    def read_losses(self) -> None:
        """Read the losses of all steps since the last read, and pass them to the callbacks.

        Raises:
            TrainingError: At the first step whose loss is not finite.
        """
        if not self._unread:
            return
        names, first = list(self._unread[0]), self.progress.step - len(self._unread) + 1
        values = torch.stack([torch.stack(list(terms.values())) for terms in self._unread])
        self._unread.clear()
        logged = {}
        for step, row in enumerate(values.tolist(), start=first):
            rate = self.learning_rate(step)
            if not math.isfinite(sum(row)):
                shown = ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True))
                raise TrainingError(
                    f"the loss is not finite at step {step}, learning rate {rate:.3g} ({shown}); "
                    "lower the learning rate; the cell has no score"
                )
            logged[step] = {"learning_rate": rate, **dict(zip(names, row, strict=True))}
        self.latest = logged[self.progress.step]
        self.log(logged)

    def log(self, logged: dict[int, dict[str, float]]) -> None:
        """Pass values by step and name to every callback."""
        for callback in self.callbacks:
            callback.on_log(self, logged)


def fit(
    model: Any,
    data: Encoded,
    rows: np.ndarray,
    objective: Objective,
    hyperparameters: Hyperparameters,
    callbacks: Sequence[Callback] = (),
) -> Progress:
    """Train a model in place.

    Args:
        model: A `models.classifier.Classifier`, or a module with `only_words` whose output has
            `float`, such as `models.pair.Pair`.
        data: The tokenised training split.
        rows: Indices (n,) of the examples to train on.
        objective: Weighted loss terms of a batch; their sum is minimised.
        hyperparameters: Schedule, optimiser, seed and precision.
        callbacks: Evaluation, checkpoints and logging, called in this order.

    Returns:
        Steps done, the best evaluation and all evaluations.

    Raises:
        InputError: If there are no rows.
        TrainingError: At the first step whose loss is not finite.
    """
    if len(rows) == 0:
        raise InputError("the training set is empty; check the data and train_cap")
    where = device()
    model.to(where).train()
    with model.only_words(data.vocabulary):
        training = Training(model, len(rows), hyperparameters, callbacks)
        for callback in callbacks:
            callback.on_start(training)
        steps = enumerate(batches(rows, hyperparameters), start=1)
        for step, batch in islice(steps, training.progress.step, None):
            for group in training.optimizer.param_groups:
                group["lr"] = training.learning_rate(step)
            with autocast(hyperparameters.precision):
                output = model(**to_device(data.batch(batch), where))
            indices = to_device({"rows": torch.from_numpy(batch)}, where)["rows"]  # (batch,)
            terms = objective(output.float(), indices)
            training.optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            training.optimizer.step()
            training.record(step, terms)
            for callback in callbacks:
                callback.on_step(training)
            if training.stop:
                break
        training.read_losses()
        for callback in callbacks:
            callback.on_end(training)
    return training.progress


class Evaluation(Callback):
    """Evaluates the model, keeps the best parameters and ends the training when patience runs out.

    The first of several equal scores counts as the best.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate

    def on_step(self, training: Training) -> None:
        """Evaluate if it is due."""
        if not training.evaluation_due:
            return
        training.read_losses()
        progress, score = training.progress, self.evaluate(training.model)
        progress.history.append({"step": progress.step, "score": score} | training.latest)
        if not score <= progress.best_score:  # also true while best_score is NaN
            progress.best_step, progress.best_score = progress.step, score
            training.best_state = state_of(training.model)
        training.log({progress.step: {"score": score}})
        evaluated = [entry["step"] for entry in progress.history]
        since_best = len(evaluated) - 1 - evaluated.index(progress.best_step)
        patience = training.hyperparameters.patience
        training.stop = training.stop or bool(patience and since_best >= patience)

    def on_end(self, training: Training) -> None:
        """Put the best parameters back."""
        if training.best_state:
            load_state(training.model, training.best_state)


def batches(rows: np.ndarray, hyperparameters: Hyperparameters) -> Iterator[np.ndarray]:
    """Yield the example indices of each step, epoch after epoch.

    A shuffled order depends on the seed and the number of the epoch alone.
    """
    size = hyperparameters.batch_size
    for epoch in range(hyperparameters.stop_epoch):
        rng = np.random.default_rng((hyperparameters.seed, epoch))
        order = rng.permutation(rows) if hyperparameters.shuffle else rows
        for start in range(0, len(order), size):
            yield order[start : start + size]


@torch.no_grad()
def predict(
    model: Any,
    data: Encoded,
    rows: np.ndarray | None = None,
    precision: str = "float32",
    batch_size: int = 128,
    states: bool = False,
) -> tuple[np.ndarray, Tensor | None]:
    """Run a model over examples in evaluation mode.

    Args:
        model: A `models.classifier.Classifier`.
        data: The tokenised split.
        rows: Indices (n,) of the examples; None for all.
        precision: "float32" or "bfloat16".
        batch_size: Examples per forward pass; examples of like length run together.
        states: Whether to return hidden states too.

    Returns:
        Logits (n, classes) in float32 and, if asked for, [CLS] states (n, layers, hidden), in the
        order of `rows`.
    """
    rows = np.arange(len(data.examples)) if rows is None else rows
    by_length = np.argsort([len(data.examples[row]["input_ids"]) for row in rows], kind="stable")
    was_training, where = model.training, device()
    logits, kept = [], []
    model.to(where).eval()
    for start in range(0, len(rows), batch_size):
        batch = data.batch(rows[by_length[start : start + batch_size]])
        with autocast(precision):
            output = model(**to_device(batch, where))
        logits.append(output.logits.float().cpu())
        kept.append(output.cls_states.float().cpu() if states else torch.empty(0))
    model.train(was_training)
    back = np.argsort(by_length, kind="stable")
    return torch.cat(logits).numpy()[back], torch.cat(kept)[back] if states else None


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(batch: dict[str, Tensor], where: torch.device) -> dict[str, Tensor]:
    """Copy tensors to a device; to a GPU from pinned memory, so that the host does not wait."""
    if where.type == "cpu":
        return batch
    return {
        name: tensor.pin_memory().to(where, non_blocking=True) for name, tensor in batch.items()
    }


def resolve_precision(precision: str) -> str:
    """Replace "auto" by "bfloat16" where the hardware multiplies in it, else by "float32"."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if native else "float32"


def autocast(precision: str) -> torch.autocast:
    """The context of forward passes; weights and sums stay float32."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
