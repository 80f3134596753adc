"""How the points that the paper leaves open are read: decisions D1 to D21, each one named option.

`Recipe()` is the reading of the authors' published code; `TEXTBOOK` is the clean one. No torch here.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from repro.errors import one_of


def decision(number: str, authors: Any, textbook: Any, options: tuple, meaning: str) -> Any:
    """A dataclass field that carries its own documentation; REPRODUCIBILITY.md is written from it."""
    return field(
        default=authors,
        metadata={"decision": number, "textbook": textbook, "options": options, "meaning": meaning},
    )


@dataclass(frozen=True)
class Recipe:
    """One reading of the paper. Every field is checked against its options when a recipe is made."""

    ptp_thresholds: str = decision(
        "D1",
        "two",
        "one",
        ("two", "one", "median"),
        "PTP confidence: t1 for correct and t2 for wrong predictions; t1 for both; the median confidence of each group",
    )
    temperature: str = decision(
        "D2",
        "both_squared",
        "both_squared",
        ("both_squared", "paper"),
        "KL term: student and teacher at T, times T squared; or equation 5 to the letter (student at 1, no factor)",
    )
    kl_reduction: str = decision(
        "D3",
        "mean",
        "batchmean",
        ("mean", "batchmean"),
        "KL averaged over batch and classes (half the true KL for two classes), or over the batch",
    )
    hidden_match: str = decision(
        "D4",
        "normalized_mean",
        "normalized_mean",
        ("normalized_mean", "mean", "sum"),
        "patience term on [CLS] states: L2-normalised mean squared error; unnormalised mean; unnormalised sum (eq. 5)",
    )
    layer_map: str = decision(
        "D5",
        "authors",
        "uniform",
        ("authors", "uniform", "last", "none"),
        "pairs of student and teacher layers: the authors' table, evenly spaced, the last layers, no pair",
    )
    sps6_order: str = decision(
        "D6",
        "top_appended",
        "top_appended",
        ("top_appended", "top_interleaved", "all_appended"),
        "six-layer SPS: 1..6,4',5',6'; 1..4,4',5,5',6,6'; 1..6,1'..6'",
    )
    swap_biases: bool = decision(
        "D7",
        True,
        True,
        (True, False),
        "Query and Key exchange weights and biases, or weights only",
    )
    ptp_stop: str = decision(
        "D8",
        "fixed",
        "patience",
        ("fixed", "patience"),
        "end of PTP: a fixed stop within a longer schedule, or no gain on the selection split for three evaluations",
    )
    ptp_selection: str = decision(
        "D9",
        "best_dev",
        "best_inner",
        ("best_dev", "best_inner", "last"),
        "PTP checkpoint: best PTP score on dev, best on an inner tenth of train, or the last step",
    )
    ptp_pooler: str = decision(
        "D10",
        "kept",
        "kept",
        ("kept", "reset"),
        "after PTP the pooler is kept, or taken from the pretrained encoder again; the PTP head is always dropped",
    )
    ptp_class_weights: str = decision(
        "D11",
        "none",
        "none",
        ("none", "balanced"),
        "PTP cross-entropy: plain, or weighted by inverse label frequency",
    )
    ptp2_threshold: str = decision(
        "D12",
        "t1",
        "t1",
        ("t1", "t2_when_wrong"),
        "PTP-2 (confident or not): t1 for all, or t2 for wrong predictions",
    )
    hyperparameters: str = decision(
        "D13",
        "preset",
        "searched",
        ("preset", "searched"),
        "learning rate of the student: the profile's, or the best of its grid on an inner tenth of train",
    )
    seeds: int = decision(
        "D14",
        1,
        5,
        tuple(range(1, 101)),
        "number of seeds a table averages over, unless SEEDS says otherwise",
    )
    checkpoint: str = decision(
        "D15",
        "best_dev",
        "last",
        ("best_dev", "last", "best_inner"),
        "student checkpoint: best dev score among frequent evaluations, last step, best on an inner tenth of train",
    )
    shuffle: bool = decision(
        "D16",
        False,
        True,
        (True, False),
        "fine-tuning and distillation read the training data in a new order each epoch (PTP always does)",
    )
    parameter_count: str = decision(
        "D17",
        "layers",
        "both",
        ("layers", "with_embeddings", "both"),
        "parameters shown: encoder layers only, as the paper prints; with embeddings and pooler; both",
    )
    one_layer_patient: str = decision(
        "D18",
        "kd",
        "kd",
        ("kd", "match"),
        "Patient KD of a plain one-layer student: plain KD, or its only layer matched with the teacher's middle one",
    )
    ablation_loss: str = decision(
        "D19",
        "patient_kd",
        "patient_kd",
        ("patient_kd", "kd", "finetune"),
        "loss under which Tables 4 and 5 compare",
    )
    teacher_checkpoint: str = decision(
        "D20",
        "lowest_dev_loss",
        "last",
        ("lowest_dev_loss", "last", "best_dev"),
        "the teacher's checkpoint",
    )
    optimizer: str = decision(
        "D21",
        "bertadam",
        "adamw",
        ("bertadam", "adamw"),
        "BertAdam (no bias correction, each tensor's gradient clipped to norm 1), or AdamW with one global clip",
    )

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, options = getattr(self, entry.name), entry.metadata["options"]
            if value not in options or type(value) is not type(options[0]):
                raise one_of(
                    f"recipe option {entry.name}",
                    value,
                    options if len(options) < 9 else ("1 .. 100",),
                )

    @property
    def changes(self) -> dict[str, Any]:
        """The options that differ from the authors' reading."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    @property
    def name(self) -> str:
        """How tables name it: "authors", "textbook", or the nearest of the two with what was changed."""
        if self == TEXTBOOK:
            return "textbook"
        return "+".join(["authors", *(f"{key}={value}" for key, value in self.changes.items())])


TEXTBOOK = Recipe(**{entry.name: entry.metadata["textbook"] for entry in fields(Recipe)})


def parse(text: str) -> Recipe:
    """A recipe from its name: "authors", "textbook", or either followed by "+option=value" any number of times."""
    base, *changes = text.split("+")
    if base not in ("authors", "textbook"):
        raise one_of("recipe", text, ("authors", "textbook", "authors+option=value"))
    return replace(Recipe() if base == "authors" else TEXTBOOK, **dict(map(_change, changes)))


def _change(text: str) -> tuple[str, Any]:
    """("option", value) of "option=value", the value read as the option's own type."""
    name, _, value = text.partition("=")
    options = {entry.name: entry.metadata["options"] for entry in fields(Recipe)}
    if name not in options:
        raise one_of("recipe option", name, options)
    return name, {str(option): option for option in options[name]}.get(value, value)


def markdown() -> str:
    """Every decision with its option, both readings and the alternatives, as a Markdown table."""
    lines = [
        "| # | option | authors (default) | textbook | others | what it decides |",
        "|---|---|---|---|---|---|",
    ]
    for entry in fields(Recipe):
        known = entry.metadata
        rest = [o for o in known["options"] if o not in (entry.default, known["textbook"])]
        others = "2 .. 100" if len(rest) > 8 else ", ".join(f"`{option}`" for option in rest)
        lines.append(
            f"| {known['decision']} | `{entry.name}` | `{entry.default}` | `{known['textbook']}` | {others} "
            f"| {known['meaning']} |"
        )
    return "\n".join(lines)
