"""What finished cells can show in a notebook: training curves, single examples, attention.

Everything is read from the cache; a missing stage is computed first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from repro.config.cells import Cell, check_seed, plan
from repro.config.tasks import Task, task
from repro.data import encoders, glue, ptp_labels
from repro.data.encode import Encoded, encode
from repro.errors import InputError
from repro.models.classifier import Classifier
from repro.models.layers import Use
from repro.runs import cache, compute
from repro.runs.specs import load_splits
from repro.runs.stages import resolve
from repro.training.loop import device, predict, to_device


def student_cell(profile: str, name: str, seed: int, overrides: dict[str, Any]) -> Cell:
    """The cell of a three-layer SPS student without PTP, the row SPS-2 of Table 4.

    Args:
        profile: Name of the profile.
        name: One task.
        seed: Of the teacher and the student.
        overrides: Changed settings.

    Raises:
        InputError: If it is not one task, or another value is unknown.
    """
    check_seed(seed)
    cells = plan("table4", profile, name, seed + 1, "authors", overrides)
    chosen = [cell for cell in cells if (cell.row, cell.seed) == ("SPS-2", seed)]
    if len(chosen) != 1:
        raise InputError(f"task must be one task, got {name!r}; for example RTE")
    return chosen[0]


def curves(cells: list[Cell]) -> pd.DataFrame:
    """How the trainings of some cells went, at each evaluation.

    Args:
        cells: Finished cells.

    Returns:
        Columns method, task, seed, step, name and value. The names are the terms of the loss,
        "learning_rate", and "score" (on dev, or on the inner split if that selects) or, where it
        selects, "dev_loss". No rows for a training without evaluations, or that is not in this
        cache.
    """
    rows = []
    for cell in cells:
        stage = resolve(cell).trained
        meta = cache.meta(stage.kind, stage.key) or {"history": []}
        for entry in meta["history"]:
            values = {name: value for name, value in entry.items() if name != "step"}
            if meta["rule"] == "lowest_dev_loss":  # whose score is minus the loss
                values["dev_loss"] = -values.pop("score")
            rows += [
                (cell.row, cell.task, cell.seed, int(entry["step"]), name, value)
                for name, value in values.items()
            ]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "step", "name", "value"])


@dataclass(frozen=True, eq=False)
class Predictions:
    """A teacher's predictions on its training split.

    Attributes:
        task: The task.
        texts: Per example one or two strings.
        gold: Gold labels (examples,).
        logits: (examples, classes).
        cuts: PTP's thresholds (t1, t2) under the cell's recipe.
        temperature: Of the soft labels in distillation.
    """

    task: Task
    texts: tuple[tuple[str, ...], ...]
    gold: np.ndarray
    logits: np.ndarray
    cuts: tuple[float, float]
    temperature: float


def teacher_predictions(cell: Cell) -> Predictions:
    """The predictions of a cell's teacher on train."""
    train, _ = load_splits(cell.task, cell.setting)
    logits = compute.read(resolve(cell).stage("outputs")).tensors["train.logits"].numpy()
    rule, own = cell.recipe.ptp_thresholds, task(cell.task)
    cuts = ptp_labels.thresholds(rule, own, logits, train.labels)
    return Predictions(own, train.texts, train.labels, logits, cuts, cell.setting.temperature)


class Models:
    """A trained teacher and a trained student, to be asked about any text.

    Args:
        cell: The student's cell.

    Attributes:
        task: The task.
        texts: Texts of a dev example, to begin with.
        uses: The student's effective layers, bottom to top.
    """

    def __init__(self, cell: Cell) -> None:
        resolved = resolve(cell)
        self.task, self.texts = task(cell.task), load_splits(cell.task, cell.setting)[1].texts[0]
        self.uses: tuple[Use, ...] = resolved.trained.spec.structure.uses
        self.teacher: Classifier = compute.load_model(resolved.stage("teacher")).eval()
        self.student: Classifier = compute.load_model(resolved.trained).eval()
        for part in self.student.encoder.modules():  # a twin has a configuration of its own
            config: Any = getattr(part, "config", None)
            if config is not None:
                config._attn_implementation = "eager"  # the only one that returns weights
        self._tokenizer: PreTrainedTokenizerBase = encoders.load_tokenizer(cell.setting.backbone)
        self._max_length = cell.setting.max_length

    def logits(self, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The logits (classes,) of the teacher and of the student for one example."""
        tokens = self._encode(texts)
        teacher, student = (predict(model, tokens)[0][0] for model in (self.teacher, self.student))
        return teacher, student

    @torch.no_grad()
    def attention(self, texts: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
        """The student's attention for one example.

        Returns:
            The tokens, and the weights (effective layers, heads, tokens, tokens); rows attend to
            columns.
        """
        tokens = self._encode(texts)
        inputs = to_device(tokens.batch([0]), device())
        output = self.student.to(device()).encoder(**inputs, output_attentions=True)
        weights = [layer[0].cpu() for layer in output.attentions]  # (heads, tokens, tokens)
        words = self._tokenizer.convert_ids_to_tokens(tokens.examples[0]["input_ids"])
        return list(words), torch.stack(weights).numpy()

    def _encode(self, texts: tuple[str, ...]) -> Encoded:
        if not all(text.strip() for text in texts):
            raise InputError(f"{self.task.name} needs {len(self.task.columns)} texts, got {texts}")
        split = glue.Split((texts,), np.zeros(1, np.int64), "dev", "typed")
        examples = encode(split, self._tokenizer, self._max_length)
        return Encoded(examples, self._tokenizer.pad_token_id)
