"""Python API of the package: `distill`, `load_student`, `models`, and the class `Student`."""

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro import paths
from repro.config import cells
from repro.config import own as configuration
from repro.config.cells import Cell
from repro.data import encoders, own
from repro.data.pypi_encoders import WEIGHTS
from repro.errors import InputError, MissingError, on_disk
from repro.files import sha256, write_atomic
from repro.report import student_report
from repro.runs import results

if TYPE_CHECKING:
    import numpy as np

    from repro.runs.stages import Plan

STUDENT = "student"  # subfolder of the model in the folder of a distillation
REPORT = "report.json"
MODELS = (0, 3)  # layers of the models of Table 2 that `models` exports; 0 is the teacher


@dataclass(frozen=True)
class Student:
    """A trained student as a plain transformers model, with a report of its training.

    Attributes:
        model: A `transformers` model for sequence classification.
        tokenizer: Its tokenizer, which truncates texts as in training.
        report: Facts about data, settings and versions; "scores" has the scores of teacher and
            student with intervals, see `report.student_report.scores`.
    """

    model: Any
    tokenizer: Any
    report: dict[str, Any]

    def __str__(self) -> str:
        return student_report.report(self.report)

    def probabilities(self, texts: Sequence[str] | Sequence[tuple[str, ...]]) -> "np.ndarray":
        """Predict the probabilities of the classes for new texts.

        Args:
            texts: Strings, or pairs of strings if the student was trained on pairs.

        Returns:
            Probabilities (texts, classes), in the order of `report["labels"]`.

        Raises:
            InputError: If a text is empty, or is not a pair although the student takes pairs.
        """
        from repro.models import export

        rows = own.texts_of(list(texts), "", "texts")
        trained_on = len(self.report["columns"])
        if rows and len(rows[0]) != trained_on:
            raise InputError(
                f"the student takes {trained_on} texts per row ({', '.join(self.report['columns'])}"
                f"), got {len(rows[0])}"
            )
        return export.predict(self.model, self.tokenizer, rows, len(self.report["labels"]))

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, ...]]) -> list[int | str]:
        """Predict the labels of new texts.

        Args:
            texts: Strings, or pairs of strings if the student was trained on pairs.

        Returns:
            One label per text, written as in the training data.

        Raises:
            InputError: As `probabilities`.
        """
        labels = self.report["labels"]
        return [labels[number] for number in self.probabilities(texts).argmax(axis=1)]

    def save(self, folder: str | Path) -> None:
        """Write student/, which plain transformers can load, report.json and report.md.

        Raises:
            DiskError: If the folder cannot be written.
        """
        self.export(Path(folder) / STUDENT)
        _write(Path(folder) / "report.md", str(self))
        _write(Path(folder) / REPORT, self._report_text)

    def export(self, folder: str | Path, shared: bool = False, onnx: bool = False) -> None:
        """Write a folder that plain transformers can load, with a model card and the report.

        Args:
            folder: The folder; existing files of the same names are replaced.
            shared: Store shared parameters only once. Loading such a file needs the ten lines of
                code in the model card.
            onnx: Also write model.onnx.

        Raises:
            DiskError: If the folder cannot be written.
            MissingError: If the packages for ONNX are not installed.
            ReproError: If the written model does not compute the same as this one.
        """
        from repro.models import export

        folder = Path(folder)
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            export.write(self.model, self.tokenizer, folder, shared, onnx)
        card = student_report.card(self.report, folder.absolute().name, shared, onnx)
        _write(folder / "README.md", card)
        _write(folder / REPORT, self._report_text)

    @property
    def _report_text(self) -> str:
        return json.dumps(self.report, indent=1, ensure_ascii=False) + "\n"


def distill(
    train: Any,
    dev: Any,
    encoder: str | Path = "",
    method: str = "pea-kd",
    layers: int = 3,
    *,
    text: str | Sequence[str] = "text",
    label: str = "label",
    teacher: str | Path = "",
    epochs: int = 0,
    seed: int = 0,
    recipe: str = configuration.RECIPE,
    settings: dict[str, Any] | None = None,
    sources: tuple[str, str] = ("train", "dev"),
) -> Student:
    """Train a teacher on labelled texts and distil it into a smaller student.

    Every stage is cached: an interrupted call resumes, and a second student on the same data uses
    the same teacher.

    Args:
        train: A pandas DataFrame, a `datasets.Dataset`, or a tuple (texts, labels), where each text
            is a string or a pair of strings and each label an integer or a string.
        dev: The data for the scores, in the same form. Nothing is chosen on them, unless the recipe
            says so.
        encoder: A folder with a pretrained encoder, or a name: "embedded", a packaged encoder or a
            model on the hub. By default the encoder of the teacher.
        method: "fine-tuning" (without the teacher), "kd", "patient-kd", "sps", "ptp" or "pea-kd".
        layers: Number of layers that the student stores.
        text: The text column, or two columns for pairs of texts.
        label: The label column.
        teacher: A folder with a fine-tuned teacher; by default the encoder is fine-tuned.
        epochs: Epochs of each training; 0 for a default that depends on the encoder and the number
            of examples.
        seed: Seed of all trainings.
        recipe: Choices for what the paper leaves open; see `repro.config.recipe`.
        settings: Settings to change, by dotted name, e.g. {"student.learning_rate": 2e-5}.
        sources: Names of the two data sets in messages.

    Returns:
        The student, with its scores on dev and those of its teacher.

    Raises:
        InputError: Before training, if the arguments or the data are not valid.
        MissingError: If the encoder cannot be found.
        TrainingError: If a training diverges.
    """
    splits = [
        own.examples(data, text, label, source)
        for data, source in zip((train, dev), sources, strict=True)
    ]
    classes = own.check_splits(*splits)
    if not (encoder or teacher):
        raise InputError("encoder is missing; give a folder, or 'embedded' to try it")
    name = encoders.folder_or_name(encoder or teacher)
    teacher_name = encoders.folder_or_name(teacher or name)
    hidden = encoders.width(name)
    positions = min(
        encoders.load_tokenizer(encoder_name).model_max_length
        for encoder_name in {name, teacher_name}
    )
    options = (name, hidden, positions, method, layers, epochs, seed, recipe, settings)
    from repro.runs import distil, stages

    # Nothing is stored before all arguments are checked.
    cell = partial(configuration.cell, examples=len(splits[0].texts))
    distil.check(cell("", *options), teacher_name, splits[0].texts[0])
    given = distil.given_teacher(teacher_name, classes) if teacher else None
    paths.checkpoint_steps()
    plan = stages.resolve(cell(own.store(*splits), *options), given)
    return _trained(plan, f"{method} on {sources[0]}")


def load_student(source: str | Path) -> Student:
    """Load a student from a folder, or the model of a table's cell.

    Args:
        source: The folder of a distillation or of an exported model, or the id of a finished cell.
            A cell's model that is no longer in the cache is trained again.

    Raises:
        MissingError: If there is neither such a folder nor such a cell.
    """
    folder = Path(source)
    for candidate in (folder / STUDENT, folder):
        if (candidate / REPORT).is_file() and (candidate / "config.json").is_file():
            from transformers import AutoTokenizer

            from repro.models import export

            report = json.loads((candidate / REPORT).read_text(encoding="utf-8"))
            tokenizer = AutoTokenizer.from_pretrained(candidate, local_files_only=True)
            return Student(export.load(candidate), tokenizer, report)
    name = folder.name
    pattern = f"**/cells/{glob.escape(name)}.json"
    result_paths = sorted(paths.all_results().glob(pattern)) if name else []
    if not result_paths:
        raise MissingError(
            f"{str(source)!r} is neither a folder with a student nor the id of a finished cell; "
            "python -m repro list table2 shows ids"
        )
    from repro.runs import stages

    plan = stages.resolve(Cell.from_dict(json.loads(result_paths[0].read_text())["cell"]))
    return _trained(plan, f"model of {name}")


def models(profile: str = "demo", tasks: str = "", recipe: str = "authors") -> pd.DataFrame:
    """Export the teacher and the three-layer students of Table 2, seed 0.

    Each is written to a folder in results/<profile>/models that plain transformers can load. A
    model that is no longer in the cache is trained again.

    Args:
        profile: The profile.
        tasks: Comma-separated names of tasks; "" for all four.
        recipe: The recipe of the run.

    Returns:
        One row per model: its folder, task, method, scores on dev and the SHA-256 of its weights;
        also written to models.csv beside the folders.

    Raises:
        MissingError: If one of their cells is not finished.
    """
    planned = cells.plan("table2", profile, tasks, 1, recipe)
    wanted = [cell for cell in planned if cell.layers in MODELS]
    finished = [results.read(cell) for cell in wanted]  # before anything is trained or written
    target, rows = paths.results(profile) / "models", []
    for cell, result in zip(wanted, finished, strict=True):
        student = load_student(cell.id)
        name = f"{cell.task}-{cell.row}".lower()
        student.export(target / name)
        row = {"model": name, "task": cell.task, "method": cell.row, "recipe": recipe}
        scores = {metric: round(score, 2) for metric, score in result["metrics"].items()}
        rows.append(row | scores | {"sha256": sha256(target / name / WEIGHTS)})
    frame = pd.DataFrame(rows)
    write_atomic(target / "models.csv", lambda path: frame.to_csv(path, index=False))
    return frame


def _trained(plan: "Plan", title: str) -> Student:
    """Compute the missing stages of a plan; returns its model and report."""
    from repro.runs import distil

    distil.run(plan, title)
    scores = student_report.scores(*distil.predictions(plan))
    return Student(*distil.stock_model(plan), distil.facts(plan) | {"scores": scores})


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
