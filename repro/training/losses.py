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
    """KL divergence of softened predictions (Hinton et al. 2015; Pea-KD eq. 5).

    KL(softmax(z_t / T) || softmax(z_s / T)) * T^2, with the student's logits z_s, the teacher's
    logits z_t and the temperature T.

    Args:
        student_logits: z_s (batch, classes), unscaled.
        teacher_logits: z_t (batch, classes), unscaled.
        temperature: T, above 0.
        reduction: "batchmean", the KL per example averaged over the batch; or "mean", averaged over
            batch and classes (decision D3).
        reading: "both_squared", as above; or "paper", exactly as in equation 5: z_s at temperature
            1 and no factor T^2 (decision D2).

    Returns:
        A scalar, in nats.

    Raises:
        InputError: If the shapes differ, T is not above 0 or an option is unknown.
    """
    if student_logits.shape != teacher_logits.shape:
        raise InputError(
            "logits must have one shape, "
            f"got {tuple(student_logits.shape)} for the student "
            f"and {tuple(teacher_logits.shape)} for the teacher"
        )
    if not temperature > 0:
        raise InputError(f"the temperature must be above 0, got {temperature}")
    if reduction not in ("mean", "batchmean"):
        raise one_of("KL reduction", reduction, ("mean", "batchmean"))
    if reading not in ("both_squared", "paper"):
        raise one_of("temperature reading", reading, ("both_squared", "paper"))
    squared = reading == "both_squared"
    student_temperature, factor = (temperature, temperature**2) if squared else (1.0, 1.0)
    log_student = F.log_softmax(student_logits / student_temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    terms = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    return factor * (terms.mean() if reduction == "mean" else terms.sum() / len(terms))


def patience(
    student_states: Tensor, teacher_states: Tensor, match: str = "normalized_mean"
) -> Tensor:
    """Squared distance of matched [CLS] states (Sun et al. 2019, eq. 7; Pea-KD eq. 5, third term).

    Args:
        student_states: (batch, pairs, hidden), the states after each matched layer.
        teacher_states: (batch, pairs, hidden).
        match: "normalized_mean", states divided by their L2 norms, mean over batch, pairs and
            hidden; "mean", the same without normalisation; "sum", the sum over pairs and hidden as
            in equation 5, averaged over the batch (decision D4).

    Returns:
        A scalar; 0 if there are no pairs.

    Raises:
        InputError: If the shapes differ or the option is unknown.
    """
    if student_states.shape != teacher_states.shape:
        raise InputError(
            "matched states must have one shape, "
            f"got {tuple(student_states.shape)} for the student "
            f"and {tuple(teacher_states.shape)} for the teacher"
        )
    if match not in ("normalized_mean", "mean", "sum"):
        raise one_of("hidden match", match, ("normalized_mean", "mean", "sum"))
    if student_states.shape[1] == 0:
        return student_states.new_zeros(())  # the mean of nothing would be NaN
    if match == "normalized_mean":
        student_states = F.normalize(student_states, dim=-1)
        teacher_states = F.normalize(teacher_states, dim=-1)
    if match == "sum":
        return F.mse_loss(student_states, teacher_states, reduction="sum") / len(student_states)
    return F.mse_loss(student_states, teacher_states)


def cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats (Pea-KD eq. 3 and 4).

    Args:
        logits: (batch, classes).
        labels: Class ids (batch,).
        weight: Weights of the classes (classes,), or None.
    """
    return F.cross_entropy(logits, labels, weight=weight)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Class weights by inverse label frequency (decision D11).

    Args:
        labels: Class ids (examples,).
        classes: The number of classes.

    Returns:
        (classes,), with mean 1 over the examples; 0 for a class that does not occur.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), 0.0)
