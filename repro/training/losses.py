"""The terms of the distillation loss (paper, equations 3 to 6) as pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.errors import InputError, one_of


def soft_cross_entropy(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    reduction: str = "batchmean",
    reading: str = "both_squared",
) -> Tensor:
    """KL(softmax(z_t / T) || softmax(z_s / T)) * T^2, averaged over the batch (Hinton et al. 2015; Pea-KD eq. 5).

    student_logits z_s, teacher_logits z_t: (batch, classes), unscaled. temperature T: > 0.
    reduction (decision D3): "batchmean", the KL per example averaged over the batch; "mean", over batch and classes.
    reading (decision D2): "both_squared", as above; "paper", equation 5 to the letter: z_s at 1, no factor T^2.
    Returns a scalar in nats. Raises InputError if the shapes differ, T <= 0 or an option is unknown.
    """
    if student_logits.shape != teacher_logits.shape:
        raise InputError(
            f"logits must have one shape, got {tuple(student_logits.shape)} for the student "
            f"and {tuple(teacher_logits.shape)} for the teacher"
        )
    if not temperature > 0:
        raise InputError(f"the temperature must be above 0, got {temperature}")
    if reduction not in ("mean", "batchmean"):
        raise one_of("KL reduction", reduction, ("mean", "batchmean"))
    if reading not in ("both_squared", "paper"):
        raise one_of("temperature reading", reading, ("both_squared", "paper"))
    student_temperature, factor = (
        (temperature, temperature**2) if reading == "both_squared" else (1.0, 1.0)
    )
    log_student = F.log_softmax(student_logits / student_temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    divergence = F.kl_div(
        log_student, log_teacher, reduction="none", log_target=True
    )  # (batch, classes)
    return factor * (
        divergence.mean() if reduction == "mean" else divergence.sum() / len(divergence)
    )


def patience(
    student_states: Tensor, teacher_states: Tensor, match: str = "normalized_mean"
) -> Tensor:
    """Squared distance of matched [CLS] states (Sun et al. 2019, eq. 7; the third term of Pea-KD eq. 5).

    student_states, teacher_states: (batch, pairs, hidden), the raw states after each matched layer.
    match (decision D4): "normalized_mean", each state divided by its L2 norm, mean over batch x pairs x hidden;
    "mean", the same unnormalised; "sum", the sum over pairs and hidden as equation 5 has it, averaged over the batch.
    Returns a scalar; 0 where there is no pair. Raises InputError if the shapes differ or the option is unknown.
    """
    if student_states.shape != teacher_states.shape:
        raise InputError(
            f"matched states must have one shape, got {tuple(student_states.shape)} for the student "
            f"and {tuple(teacher_states.shape)} for the teacher"
        )
    if match not in ("normalized_mean", "mean", "sum"):
        raise one_of("hidden match", match, ("normalized_mean", "mean", "sum"))
    if student_states.shape[1] == 0:
        return student_states.new_zeros(())  # the mean over nothing would be NaN
    if match == "normalized_mean":
        student_states, teacher_states = (
            F.normalize(student_states, dim=-1),
            F.normalize(teacher_states, dim=-1),
        )
    if match == "sum":
        return F.mse_loss(student_states, teacher_states, reduction="sum") / len(student_states)
    return F.mse_loss(student_states, teacher_states)


def cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats. logits: (batch, classes); labels: (batch,); weight: (classes,) or None (eq. 3, 4)."""
    return F.cross_entropy(logits, labels, weight=weight)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Inverse label frequencies, with mean 1 over the examples (decision D11); 0 for a label that never occurs.

    labels: (examples,). Returns (classes,).
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), 0.0)
