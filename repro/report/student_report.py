"""The report of a distilled student, and the model card of an exported one, as Markdown."""

import json
from typing import Any

import numpy as np

from repro.analysis.example_scores import example_scores
from repro.analysis.inference import Estimate, difference, mean_score
from repro.config.profiles import PROFILES
from repro.config.tasks import OWN

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # with the names that reports show
_INTERVALS = (
    "Scores in percent on the dev examples, with 95 % intervals over examples. They do not cover "
    "the variation between seeds: to compare methods, train with several seeds."
)
_LOAD = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained({folder})
"""
_LOAD_SHARED = """\
import json

from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

with safe_open({folder} + "/shared.safetensors", "pt") as file:
    tensors = {{name: file.get_tensor(name) for name in file.keys()}}
    same = json.loads(file.metadata()["same"])
tensors |= {{name: tensors[first] for name, first in same.items()}}
config = AutoConfig.from_pretrained({folder})
model = AutoModelForSequenceClassification.from_config(config)
model.load_state_dict(tensors, strict=False, assign=True)
"""
_PREDICT = """\
tokenizer = AutoTokenizer.from_pretrained({folder})
batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="pt")
probabilities = model.eval()(**batch).logits.softmax(dim=1)
for row in probabilities:
    print(model.config.id2label[int(row.argmax())], float(row.max()))
"""
_LOAD_ONNX = """\
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder})
batch = dict(tokenizer({texts}, truncation=True, padding=True, return_tensors="np"))
session = onnxruntime.InferenceSession({folder} + "/model.onnx")
names = [entry.name for entry in session.get_inputs()]
zeros = batch["input_ids"] * 0  # for token types, which not every tokenizer returns
(logits,) = session.run(["logits"], {{name: batch.get(name, zeros) for name in names}})
print(logits.argmax(axis=1))
"""


def scores(labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro F1 with 95 % intervals over examples.

    There is one training of each model, so the intervals do not cover the variation between seeds.

    Args:
        labels: Gold class ids (examples,).
        teacher: The teacher's class ids (examples,).
        student: The student's class ids (examples,).

    Returns:
        Per model ("teacher", "student") and for "difference", student minus teacher: per metric
        "score", "low" and "high", in percent or points; and "most_frequent", the accuracy of the
        most frequent class.
    """
    counts = np.unique_counts(labels).counts
    by_model: dict[str, Any] = {"most_frequent": 100.0 * float(counts.max()) / len(labels)}
    for metric in METRICS:
        of_teacher, of_student = (
            example_scores(metric, labels, predicted[None]) for predicted in (teacher, student)
        )
        for name, estimate in (
            ("teacher", mean_score(of_teacher)),
            ("student", mean_score(of_student)),
            ("difference", difference(of_teacher, of_student)),
        ):
            by_model.setdefault(name, {})[metric] = _as_dict(estimate)
    return by_model


def _as_dict(estimate: Estimate) -> dict[str, float]:
    return {"score": estimate.estimate, "low": estimate.low, "high": estimate.high}


def report(facts: dict[str, Any]) -> str:
    """The report of a teacher and its student.

    Args:
        facts: The output of `runs.distil.facts`, with "scores" from `scores`.
    """
    return f"# {_title(facts)}\n\n{_table(facts)}\n\n{_INTERVALS}\n\n{_notes(facts)}\n"


def card(facts: dict[str, Any], folder: str, shared: bool = False, onnx: bool = False) -> str:
    """The model card, README.md, of an exported model.

    Args:
        facts: As for `report`.
        folder: The folder's name, for the code that loads it.
        shared: Whether the folder has shared.safetensors in place of model.safetensors.
        onnx: Whether it has model.onnx.
    """
    pair = len(facts["columns"]) == 2
    folder = json.dumps(folder)  # in double quotes
    texts = '["A first text."], ["A second text."]' if pair else '["A text."]'
    load = (_LOAD_SHARED if shared else _LOAD) + _PREDICT
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---",
        f"# {_title(facts)}",
        "## How to load it",
        f"```python\n{load.format(folder=folder, texts=texts)}```",
    ]
    sharing = "Layers that share parameters share them on disk and in memory."
    unrolled = (
        "Layers that share parameters are stored separately; `export --shared` stores them once."
    )
    if facts["effective_layers"] != facts["layers"]:
        parts.append(sharing if shared else unrolled)
    if onnx:
        code = _LOAD_ONNX.format(folder=folder, texts=texts)
        parts += ["With onnxruntime, without torch:", f"```python\n{code}```"]
    parts += ["## Scores", _table(facts), _INTERVALS, "## How it was made", _notes(facts)]
    return "\n\n".join(parts) + "\n"


def _title(facts: dict[str, Any]) -> str:
    if facts["kind"] != "student":
        return f"{facts['encoder']}, fine-tuned"
    layers = facts["layers"]
    return f"{layers}-layer student of {facts['encoder']}, {facts['method']}"


def _table(facts: dict[str, Any]) -> str:
    """Teacher, student and their difference, with parameters in millions."""
    scores = facts["scores"]
    lines = [
        f"| | {' | '.join(METRICS.values())} | parameters |",
        "|---" * (len(METRICS) + 2) + "|",
    ]
    own, teachers = facts["parameters"]["total"], facts["teacher_parameters"]
    teacher_parameters = f"{teachers['total'] / 1e6:.2f} M" if teachers else ""
    rows = [("teacher", teacher_parameters)]
    if facts["kind"] == "student":
        rows += [("student", f"{own / 1e6:.2f} M"), ("difference", "")]
    for name, parameters in rows:
        sign = "+" if name == "difference" else ""
        cells = [
            f"{value['score']:{sign}.1f} ({value['low']:{sign}.1f} to {value['high']:{sign}.1f})"
            for value in (scores[name][metric] for metric in METRICS)
        ]
        shown = "student − teacher" if name == "difference" else name
        lines.append(f"| {shown} | {' | '.join(cells)} | {parameters} |")
    lines.append(f"| most frequent class | {scores['most_frequent']:.1f} | | |")
    return "\n".join(lines)


def _notes(facts: dict[str, Any]) -> str:
    return "\n".join(f"- {line}" for line in (*_data_notes(facts), *_training_notes(facts)))


def _data_notes(facts: dict[str, Any]) -> list[str]:
    """What the models were trained and scored on, with warnings about it."""
    dev, train, setting = facts["dev"], facts["train"], facts["setting"]
    name = "student" if facts["kind"] == "student" else "teacher"
    labels = ", ".join(f"`{label}`" for label in facts["labels"])
    lines = []
    if not facts["task"].startswith(OWN):
        lines.append(f"Task: {facts['task']} ({PROFILES[facts['profile']].data}).")
    if facts["scores"][name]["accuracy"]["low"] <= facts["scores"]["most_frequent"]:
        lines.append(
            f"**The {name} is not clearly above the most frequent class.** It was trained for "
            f"{setting[name]['epochs']} epochs; with few examples, train for more."
        )
    lines += [
        f"Classes: {labels}. Texts: {', '.join(facts['columns'])}, "
        f"cut at {setting['max_length']} tokens.",
        f"Data: {train['examples']:,} training examples (fingerprint `{train['fingerprint']}`), "
        f"{dev['examples']:,} dev examples (`{dev['fingerprint']}`).",
        f"Encoder: {facts['encoder']} (SHA-256 of its weights `{facts['encoder_sha256']}`).",
    ]
    if dev["also_in_train"]:
        lines.append(
            f"**{dev['also_in_train']:,} of the dev texts are also in train**: the scores are "
            "too high for new texts."
        )
    return lines


def _training_notes(facts: dict[str, Any]) -> list[str]:
    """The models, and how they were trained."""
    is_student, setting = facts["kind"] == "student", facts["setting"]
    lines = []
    if facts["given_teacher"]:
        lines.append(f"Teacher: {facts['given_teacher']}, fine-tuned before.")
    if is_student:
        effective = facts["effective_layers"]
        runs = f", which run as {effective}" if effective != facts["layers"] else ""
        lines.append(f"Student: {facts['layers']} stored layers{runs}; method {facts['method']}.")
    if facts["ptp_label_counts"]:
        counts = ", ".join(f"{count:,}" for count in facts["ptp_label_counts"])
        lines.append(f"Training examples per PTP label: {counts}.")
    rates = {name: setting[name]["learning_rate"] for name in facts["trainings"]}
    if is_student:
        rates |= {"student": facts["learning_rate"]}
    budgets = [
        f"{name} {setting[name]['epochs']} epochs at {rate:g}" for name, rate in rates.items()
    ]
    lines.append(
        f"Training: {'; '.join(budgets)}; seed {facts['seed']}; recipe `{facts['recipe']}`; "
        f"{facts['precision']} on {facts['device']}; {sum(facts['seconds'].values()):.0f} seconds; "
        f"{', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."
    )
    return lines
