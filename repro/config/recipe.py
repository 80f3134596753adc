"""Recipes: choices for the points that the paper leaves open. No torch.

Each of the decisions D1 to D21 is a named option. `Recipe()` follows the authors' code, `TEXTBOOK`
the textbook reading.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from repro.errors import one_of

MOST_SEEDS = 100


def decision(number: str, authors: Any, textbook: Any, options: tuple, meaning: str) -> Any:
    """Declare a decision as a dataclass field; REPRODUCIBILITY.md has a table of all of them.

    Args:
        number: "D1" to "D21".
        authors: The authors' reading, which is the default.
        textbook: The textbook reading.
        options: All allowed values.
        meaning: What the option decides.
    """
    metadata = {"decision": number, "textbook": textbook, "options": options, "meaning": meaning}
    return field(default=authors, metadata=metadata)


@dataclass(frozen=True)
class Recipe:
    """One choice for each decision; a value that is not allowed raises an InputError."""

    # fmt: off
    ptp_thresholds: str = decision(
        "D1", "two", "one", ("two", "one", "median"),
        "PTP confidence: t1 for correct and t2 for wrong predictions; t1 for both; "
        "the median confidence of each group")
    temperature: str = decision(
        "D2", "both_squared", "both_squared", ("both_squared", "paper"),
        "KL term: student and teacher at T, times T squared; or exactly as in equation 5 "
        "(student at 1, no factor)")
    kl_reduction: str = decision(
        "D3", "mean", "batchmean", ("mean", "batchmean"),
        "KL averaged over batch and classes (half the true KL for two classes), or over the batch")
    hidden_match: str = decision(
        "D4", "normalized_mean", "normalized_mean", ("normalized_mean", "mean", "sum"),
        "patience term on [CLS] states: L2-normalised mean squared error; unnormalised mean; "
        "unnormalised sum (eq. 5)")
    layer_map: str = decision(
        "D5", "authors", "uniform", ("authors", "uniform", "last", "none"),
        "pairs of student and teacher layers: the authors' table; evenly spaced; the last layers; "
        "no pairs")
    sps6_order: str = decision(
        "D6", "top_appended", "top_appended", ("top_appended", "top_interleaved", "all_appended"),
        "six-layer SPS: 1..6,4',5',6'; 1..4,4',5,5',6,6'; 1..6,1'..6'")
    swap_biases: bool = decision(
        "D7", True, True, (True, False),
        "Query and Key exchange weights and biases, or weights only")
    ptp_stop: str = decision(
        "D8", "fixed", "patience", ("fixed", "patience"),
        "end of PTP: a fixed epoch within a longer schedule, or three evaluations without a gain "
        "on the selection split")
    ptp_selection: str = decision(
        "D9", "best_dev", "best_inner", ("best_dev", "best_inner", "last"),
        "PTP checkpoint: best PTP score on dev; best on a held-out tenth of train; last step")
    ptp_pooler: str = decision(
        "D10", "kept", "kept", ("kept", "reset"),
        "after PTP the pooler is kept, or reset to the pretrained encoder's; "
        "the PTP head is always dropped")
    ptp_class_weights: str = decision(
        "D11", "none", "none", ("none", "balanced"),
        "PTP cross-entropy: unweighted, or weighted by inverse label frequency")
    ptp2_threshold: str = decision(
        "D12", "t1", "t1", ("t1", "t2_when_wrong"),
        "PTP-2 (confident or not): t1 for all predictions, or t2 for wrong ones")
    hyperparameters: str = decision(
        "D13", "preset", "searched", ("preset", "searched"),
        "student's learning rate: the profile's, or the best of its grid on a held-out tenth "
        "of train (centred on a method's own rate, if it has one)")
    seeds: int = decision(
        "D14", 1, 5, tuple(range(1, MOST_SEEDS + 1)),
        "number of seeds that a table averages over, unless SEEDS is set")
    checkpoint: str = decision(
        "D15", "best_dev", "last", ("best_dev", "last", "best_inner"),
        "student checkpoint: best dev score among frequent evaluations; last step; "
        "best on a held-out tenth of train")
    shuffle: bool = decision(
        "D16", False, True, (True, False),
        "whether fine-tuning and distillation shuffle the training data in each epoch "
        "(PTP always does)")
    parameter_count: str = decision(
        "D17", "layers", "both", ("layers", "with_embeddings", "both"),
        "parameters shown: encoder layers only, as in the paper; with embeddings and pooler; both")
    one_layer_patient: str = decision(
        "D18", "kd", "kd", ("kd", "match"),
        "Patient KD of a one-layer student without SPS: plain KD, or its only layer matched with "
        "the teacher's middle layer")
    ablation_loss: str = decision(
        "D19", "patient_kd", "patient_kd", ("patient_kd", "kd", "finetune"),
        "loss of all rows of Tables 4 and 5")
    teacher_checkpoint: str = decision(
        "D20", "lowest_dev_loss", "last", ("lowest_dev_loss", "last", "best_dev"),
        "teacher checkpoint: lowest dev loss; last step; best dev score")
    optimizer: str = decision(
        "D21", "bertadam", "adamw", ("bertadam", "adamw"),
        "BertAdam (no bias correction, each tensor's gradient clipped to norm 1), "
        "or AdamW with one global clip")
    # fmt: on

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, options = getattr(self, entry.name), entry.metadata["options"]
            if value not in options or type(value) is not type(options[0]):
                allowed = ("1 .. 100",) if entry.name == "seeds" else options
                raise one_of(f"recipe option {entry.name}", value, allowed)

    @property
    def changes(self) -> dict[str, Any]:
        """Options that differ from the authors' reading, with their values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        defaults = {entry.name: entry.default for entry in fields(self)}
        return {name: value for name, value in values.items() if value != defaults[name]}

    @property
    def name(self) -> str:
        """Name that `parse` understands: "authors" followed by changes, or "textbook"."""
        if self == TEXTBOOK:
            return "textbook"
        return "+".join(["authors", *(f"{key}={value}" for key, value in self.changes.items())])


TEXTBOOK = Recipe(**{entry.name: entry.metadata["textbook"] for entry in fields(Recipe)})


def parse(text: str) -> Recipe:
    """Create a recipe from its name.

    Args:
        text: "authors" or "textbook", followed by any number of "+option=value".

    Raises:
        InputError: If the base, an option or a value is unknown.
    """
    base, *changes = text.split("+")
    if base not in ("authors", "textbook"):
        raise one_of("recipe", text, ("authors", "textbook", "authors+option=value"))
    options = {entry.name: entry.metadata["options"] for entry in fields(Recipe)}
    values = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in options:
            raise one_of("recipe option", name, options)
        by_text = {str(option): option for option in options[name]}
        values[name] = by_text.get(value, value)  # Recipe raises InputError for an unknown value
    return replace(Recipe() if base == "authors" else TEXTBOOK, **values)


def markdown() -> str:
    """Format all decisions as a Markdown table: option, both readings, other values, meaning."""
    lines = [
        "| # | option | authors (default) | textbook | others | what it decides |",
        "|---|---|---|---|---|---|",
    ]
    for entry in fields(Recipe):
        number, textbook, options, meaning = entry.metadata.values()
        others = [f"`{value}`" for value in options if value not in (entry.default, textbook)]
        shown = "2 .. 100" if entry.name == "seeds" else ", ".join(others)
        lines.append(
            f"| {number} | `{entry.name}` | `{entry.default}` | `{textbook}` | {shown} "
            f"| {meaning} |"
        )
    return "\n".join(lines)
