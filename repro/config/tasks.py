"""The GLUE tasks of the paper, their embedded miniatures, and tasks of a user's own data."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from repro import paths
from repro.errors import MissingError, one_of

OWN = "own-"  # names of tasks made of a user's own data start with this


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
        name: GLUE's name, with the prefix "mini-" for a miniature, or "calibration-" for its
            other edition, on which the demo's settings were chosen.
        columns: The text columns of GLUE on the hub.
        labels: The hub's labels, in the order of their ids.
        metric: "accuracy" or "f1" (of class 1).
        thresholds: The authors' PTP thresholds (t1, t2), decision D1.
        tsv_columns: The text columns of GLUE's TSV files.
        tsv_label: Their label column.
        tsv_labels: Their labels, in the order of the ids, if they differ from `labels`.
        embedded: Whether the examples come with the package.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str
    thresholds: tuple[float, float]
    tsv_columns: tuple[str, ...] = ()
    tsv_label: str = "label"
    tsv_labels: tuple[str, ...] = ()
    embedded: bool = False

    @property
    def paper_name(self) -> str:
        """The paper's task that this one is, or is a miniature of."""
        return self.name.partition("-")[2] if self.embedded else self.name

    @property
    def label_strings(self) -> tuple[str, ...]:
        """The labels of GLUE's TSV files and of submissions to its server, in id order."""
        return self.tsv_labels or self.labels


# fmt: off
GLUE = (
    Task("RTE", ("sentence1", "sentence2"), ("entailment", "not_entailment"),
         "accuracy", (0.80, 0.60), ("sentence1", "sentence2")),
    Task("MRPC", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"),
         "f1", (0.95, 0.75), ("#1 String", "#2 String"), "Quality", ("0", "1")),
    Task("SST-2", ("sentence",), ("negative", "positive"),
         "accuracy", (0.98, 0.80), ("sentence",), "label", ("0", "1")),
    Task("QNLI", ("question", "sentence"), ("entailment", "not_entailment"),
         "accuracy", (0.98, 0.70), ("question", "sentence")),
)
# fmt: on
_MINI_THRESHOLDS = (0.80, 0.60)  # the authors' for RTE: the embedded teacher is as rarely confident
TASKS = {task.name: task for task in GLUE} | {
    f"{edition}-{task.name}": replace(
        task, name=f"{edition}-{task.name}", embedded=True, thresholds=_MINI_THRESHOLDS
    )
    for edition in ("mini", "calibration")
    for task in GLUE
}


def task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: If there is none; it names the tasks there are.
        MissingError: If it is a task of own data that is no longer in the cache.
    """
    if name.startswith(OWN):
        return _own(own_path(name))
    if name not in TASKS:
        raise one_of("task", name, TASKS)
    return TASKS[name]


def own_path(name: str) -> Path:
    """cache/own/<name>.json, the declaration of a task of own data; see `data.own.store`."""
    return paths.below(paths.cache(), "own", f"{name}.json")


@lru_cache
def _own(path: Path) -> Task:
    """A task of own data. Its thresholds count only in a recipe with fixed ones (decision D1)."""
    if not path.is_file():
        raise MissingError(
            f"the data of {path.stem} are not in {path.parent}; run distill again with its files"
        )
    declared = json.loads(path.read_text(encoding="utf-8"))
    labels = tuple(str(label) for label in declared["labels"])
    columns = tuple(declared["columns"])
    return Task(path.stem, columns, labels, "accuracy", GLUE[0].thresholds)
