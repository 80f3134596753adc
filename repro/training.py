"""The one training loop, and prediction. Neither knows a method's name: an objective is handed in."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from repro import optim
from repro.data import collate
from repro.errors import InputError, TrainingError
from repro.models import Classifier, Output, load_state, state_of

Objective = Callable[[Output, Tensor], dict[str, Tensor]]  # (output, example indices) -> weighted terms of the loss
Evaluate = Callable[[Classifier], float]  # higher is better
Watch = Callable[[float, float], bool]  # (epochs so far, score) of an evaluation -> whether to end the training

_PATIENCE = 3  # evaluations without a gain, where training ends by patience (decision D8)


@dataclass(frozen=True)
class Encoded:
    """A tokenised split: one dict of id lists per example, not padded."""

    examples: list[dict[str, list[int]]]
    pad_id: int

    def batch(self, indices: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """The examples of those indices, padded to the longest of them: (batch, tokens)."""
        return {k: v.to(device) for k, v in collate(self.examples, indices, self.pad_id).items()}


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
        order = np.random.default_rng((plan.seed, epoch)).permutation(indices) if plan.shuffle else indices
        for start in range(0, len(order), plan.batch_size):
            yield order[start : start + plan.batch_size]


def fit(model: Classifier, data: Encoded, indices: np.ndarray, objective: Objective, plan: Plan,
        evaluate: Evaluate | None = None, watch: Watch | None = None) -> Fitted:  # fmt: skip
    """Train `model` in place on the examples of `indices`; with `evaluate`, leave it at its best checkpoint.

    watch: told of each evaluation; it may end the training.

    Raises InputError for an empty training set, TrainingError at the first step whose loss is not finite.
    """
    if len(indices) == 0:
        raise InputError("the training set is empty; check the data and train_cap")
    where = device()
    model.to(where).train()
    per_epoch = math.ceil(len(indices) / plan.batch_size)
    schedule, every = per_epoch * plan.epochs, max(1, per_epoch // plan.evaluations_per_epoch)
    last = per_epoch * (plan.stop_epoch or plan.epochs)
    optimizer = optim.build(plan.optimizer, model, plan.learning_rate)
    fitted, best = Fitted(), {}
    for step, rows in enumerate(batches(indices, plan), start=1):
        rate = plan.learning_rate * optim.warmup_linear(step - 1, schedule)
        batch = data.batch(rows, where)
        terms = _step(model, batch, torch.from_numpy(rows).to(where), objective, optimizer, rate, plan)
        _stop_if_not_finite(terms, step, rate)
        fitted.steps = step
        if evaluate and (step % every == 0 or step == last):
            score = evaluate(model)
            fitted.history.append({"step": step, "score": score, "learning_rate": rate} | terms)
            if not score <= fitted.best_score:  # also where there is none yet
                fitted.best_step, fitted.best_score, best = step, score, state_of(model)
            if plan.patience and len(fitted.history) - _position(fitted) >= _PATIENCE:
                break
            if watch and watch(step / per_epoch, score):
                break
    if best:
        load_state(model, best)
    return fitted


def _step(model: Classifier, batch: dict[str, Tensor], rows: Tensor, objective: Objective,
          optimizer: torch.optim.Optimizer, rate: float, plan: Plan) -> dict[str, float]:  # fmt: skip
    """One update at learning rate `rate`; returns the loss terms."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with autocast(plan.precision):
        output = model(**batch)
    terms = objective(Output(*(part.float() for part in output)), rows)
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    return {name: term.item() for name, term in terms.items()}


def _position(fitted: Fitted) -> int:
    """How many evaluations there were up to and with the best."""
    return 1 + [entry["step"] for entry in fitted.history].index(fitted.best_step)


def _stop_if_not_finite(terms: dict[str, float], step: int, rate: float) -> None:
    if not math.isfinite(sum(terms.values())):
        shown = ", ".join(f"{name} {value}" for name, value in terms.items())
        raise TrainingError(f"the loss is not finite at step {step}, learning rate {rate:.3g} ({shown}); "
                            "lower the learning rate; the cell has no score")  # fmt: skip


@torch.no_grad()
def predict(model: Classifier, data: Encoded, indices: np.ndarray | None = None, precision: str = "float32",
            batch_size: int = 128, states: bool = False) -> tuple[np.ndarray, Tensor | None]:  # fmt: skip
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
            output = model(**data.batch(indices[by_length[start : start + batch_size]], where))
        logits.append(output.logits.float().cpu())
        kept.append(output.cls_states.float().cpu() if states else torch.empty(0))
    model.train(was_training)
    back = np.argsort(by_length, kind="stable")
    return torch.cat(logits).numpy()[back], torch.cat(kept)[back] if states else None
