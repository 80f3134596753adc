"""The GLUE tasks of the paper, and their embedded miniatures, as data."""

from dataclasses import dataclass, replace

from repro.errors import one_of


@dataclass(frozen=True)
class Task:
    """One classification task. Columns and labels are those of GLUE on the hub; `tsv_*` those of its TSV files."""

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]  # in the order of their ids
    metric: str  # "accuracy" or "f1" (of class 1)
    thresholds: tuple[float, float]  # the authors' PTP thresholds (t1, t2), decision D1
    tsv_columns: tuple[str, ...] = ()
    tsv_label: str = "label"
    tsv_labels: tuple[
        str, ...
    ] = ()  # the TSV's label strings in id order, where they differ from `labels`
    embedded: bool = False
    training_note: str = ""  # said wherever a number of this task is shown

    @property
    def paper_name(self) -> str:
        """The paper's task that this one is, or is a miniature of."""
        return self.name.removeprefix("mini-")

    @property
    def label_strings(self) -> tuple[str, ...]:
        """The labels in id order as GLUE's TSV files, and a submission to its server, write them."""
        return self.tsv_labels or self.labels


GLUE = (
    Task(
        "RTE",
        ("sentence1", "sentence2"),
        ("entailment", "not_entailment"),
        "accuracy",
        (0.80, 0.60),
        ("sentence1", "sentence2"),
    ),
    Task(
        "MRPC",
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        "f1",
        (0.95, 0.75),
        ("#1 String", "#2 String"),
        "Quality",
        ("0", "1"),
    ),
    Task(
        "SST-2",
        ("sentence",),
        ("negative", "positive"),
        "accuracy",
        (0.98, 0.80),
        ("sentence",),
        "label",
        ("0", "1"),
    ),
    Task(
        "QNLI",
        ("question", "sentence"),
        ("entailment", "not_entailment"),
        "accuracy",
        (0.98, 0.70),
        ("question", "sentence"),
    ),
)
_MINI_THRESHOLDS = (0.80, 0.60)  # the authors' for RTE: the embedded teacher, too, is seldom surer
TASKS = {task.name: task for task in GLUE} | {
    f"mini-{task.name}": replace(
        task, name=f"mini-{task.name}", embedded=True, thresholds=_MINI_THRESHOLDS
    )
    for task in GLUE
}


def task(name: str) -> Task:
    """The task of that name; InputError with the names allowed otherwise."""
    if name not in TASKS:
        raise one_of("task", name, TASKS)
    return TASKS[name]
