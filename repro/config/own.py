"""Distillation on a user's own data: its methods, its defaults and its cell. No torch."""

import math
from dataclasses import replace
from typing import Any

from repro.config.cells import Cell
from repro.config.profiles import PROFILES, Budget, Setting, beta_for, override
from repro.config.recipe import Recipe, parse
from repro.config.tables import PATIENT_KD, PEA_KD, SPS, Method
from repro.errors import InputError, one_of

METHODS = {
    "fine-tuning": Method(loss="finetune"),
    "kd": Method(loss="kd"),
    "patient-kd": PATIENT_KD,
    "sps": SPS,
    "ptp": replace(PATIENT_KD, ptp="both"),
    "pea-kd": PEA_KD,
}
# The textbook reading shuffles the data, trains for a fixed time and never looks at dev, so that
# the score on dev is not optimistic. Its search of the learning rate would cost four trainings.
# The authors' PTP thresholds were chosen for GLUE; the medians split any teacher's correct and
# wrong predictions in half, whatever the number of classes.
RECIPE = "textbook+hyperparameters=preset+ptp_thresholds=median"
_WIDEST = {"demo": 128, "cpu": 512}  # hidden sizes up to which a profile's settings are used
_MAX_LENGTH = 128
# A training of few examples gets more epochs than the profile's: so many steps, at most so many
# epochs. With 2,000 reviews the demo's students are at chance after 126 steps, not after 378.
MIN_STEPS, MOST_EPOCHS = 400, 30


def profile_for(encoder: str, hidden: int) -> str:
    """The profile whose learning rates, batch sizes and epochs suit an encoder.

    Args:
        encoder: Its name; a profile's own encoder gets that profile.
        hidden: The width of its hidden states. Wider encoders need smaller learning rates.
    """
    for profile in PROFILES.values():
        if profile.setting.backbone == encoder:
            return profile.name
    return next((name for name, widest in _WIDEST.items() if hidden <= widest), "paper")


def setting_for(
    profile: str,
    recipe: Recipe,
    encoder: str,
    hidden: int,
    positions: int,
    epochs: int,
    examples: int,
) -> Setting:
    """A profile's setting for another encoder and all of the data.

    Args:
        profile: The name of the profile.
        recipe: The recipe, whose optimiser needs its own learning rates.
        encoder: The encoder's name.
        hidden: The width of its hidden states.
        positions: The longest text that it takes, in tokens.
        epochs: Epochs of each training; 0 for the profile's, or more if there are few examples.
        examples: How many there are to train on.
    """
    setting = PROFILES[profile].setting_for(recipe)
    return replace(
        setting,
        backbone=encoder,
        teacher=_lengthen(setting.teacher, epochs, examples),
        ptp=_lengthen(setting.ptp, epochs, examples),
        student=_lengthen(setting.student, epochs, examples),
        beta=beta_for(hidden),
        max_length=min(_MAX_LENGTH, positions),
        train_cap=0,
        dev_cap=0,
        label_noise=0.0,
    )


def _lengthen(budget: Budget, epochs: int, examples: int) -> Budget:
    """A budget of so many epochs; of 0, as many as MIN_STEPS steps take, at most MOST_EPOCHS.

    A training that stops within its schedule still stops after the same part of it.
    """
    enough = math.ceil(MIN_STEPS / max(1, examples // budget.batch_size))
    length = epochs or max(budget.epochs, min(enough, MOST_EPOCHS))
    return replace(
        budget, epochs=length, stop_epoch=math.ceil(budget.stop_epoch * length / budget.epochs)
    )


def cell(
    task: str,
    encoder: str,
    hidden: int,
    positions: int,
    method: str = "pea-kd",
    layers: int = 3,
    epochs: int = 0,
    seed: int = 0,
    recipe: str = RECIPE,
    changes: dict[str, Any] | None = None,
    *,
    examples: int,
) -> Cell:
    """The cell of a student on own data.

    Args:
        task: The task's name; see `data.own.store`.
        encoder, hidden, positions, epochs, examples: As for `setting_for`.
        method: One of METHODS.
        layers: Stored layers of the student.
        seed: Seed of all its trainings.
        recipe: As for `config.recipe.parse`.
        changes: Settings to change, by dotted name, e.g. {"student.learning_rate": 2e-5}.

    Raises:
        InputError: For a value that is not allowed; it names those that are.
    """
    if method not in METHODS:
        raise one_of("method", method, METHODS)
    for name, value, lowest in (("layers", layers, 1), ("epochs", epochs, 0), ("seed", seed, 0)):
        if type(value) is not int or value < lowest:
            raise InputError(f"{name} must be a whole number from {lowest}, got {value!r}")
    for name in ("train_cap", "dev_cap", "label_noise"):
        if name in (changes or {}):
            raise InputError(f"{name} has no effect on own data; change the files instead")
    profile, reading = profile_for(encoder, hidden), parse(recipe)
    setting = setting_for(profile, reading, encoder, hidden, positions, epochs, examples)
    chosen = override(setting, changes or {})
    return Cell("own", method, task, layers, seed, profile, METHODS[method], chosen, reading)
