"""All tables as data: rows, what each row trains, and the pairs to compare."""

from dataclasses import dataclass, replace

from repro.errors import one_of


@dataclass(frozen=True)
class Method:
    """What a row trains.

    Attributes:
        kind: "student", "teacher", "labels" (PTP labels of the teacher's predictions) or "printed"
            (numbers copied from the paper).
        sharing: "none", "paired" (SPS-1) or "shuffled" (SPS-2).
        ptp: "none", "correct" (PTP-1), "confident" (PTP-2) or "both" (PTP).
        loss: A module of `repro.methods`, such as "kd" or "tinybert", and after a colon its variant
            if it has any.
    """

    kind: str = "student"
    sharing: str = "none"
    ptp: str = "none"
    loss: str = "patient_kd"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: The paper's name for it.
        layers: Stored layers; 0 for the teacher's.
        method: What it trains.
    """

    name: str
    layers: int
    method: Method


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: "table1" to "table5", or a name of ours for a table beyond the paper.
        caption: The paper's subject.
        paper_split: The split that the paper scores; "" if the printed scores are of several.
        rows: In the paper's order.
        pairs: (row, row it is compared with).
        our_pairs: Those of `pairs` that the paper does not compare.
        ablation: Whether decision D19 sets the loss of all rows.
    """

    name: str
    caption: str
    paper_split: str
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    our_pairs: tuple[tuple[str, str], ...] = ()
    ablation: bool = False

    @property
    def comparisons(self) -> str:
        """The name of the CSV that compares its pairs, e.g. "comparisons2"; "" without pairs."""
        number = self.name.removeprefix("table")
        name = f"comparisons{number}" if number.isdigit() else f"{self.name}_comparisons"
        return name if self.pairs else ""

    @property
    def costs(self) -> str:
        """The name of the CSV with what each row costs; "" for the paper's tables."""
        return "" if self.name.removeprefix("table").isdigit() else f"{self.name}_costs"


TEACHER, PRINTED = Method("teacher", loss="finetune"), Method("printed")
PATIENT_KD = Method()
SPS_1, SPS = Method(sharing="paired"), Method(sharing="shuffled")
PEA_KD = Method(sharing="shuffled", ptp="both")

# Every baseline at every depth: what trains the student, by the end of the row's name.
_BASELINES = {
    "FineTuned": Method(loss="finetune"),
    "KD": Method(loss="kd"),
    "PatientKD": PATIENT_KD,
    "SPS-1": SPS_1,
    "SPS-2": SPS,
    "PTP": Method(ptp="both"),
}
DEPTHS = (1, 2, 3, 6)
# What each step adds: distillation, matched layers, sharing, swapping, PTP, PTP on top of SPS ...
STEPS = (
    ("BERT{}-KD", "BERT{}-FineTuned"), ("BERT{}-PatientKD", "BERT{}-KD"),
    ("BERT{}-SPS-1", "BERT{}-PatientKD"), ("BERT{}-SPS-2", "BERT{}-SPS-1"),
    ("BERT{}-PTP", "BERT{}-PatientKD"), ("PeaBERT{}", "BERT{}-SPS-2"),
)  # fmt: skip
# ... and depth
_DEEPER = (("BERT2", "BERT1"), ("BERT3", "BERT2"), ("BERT6", "BERT3"), ("BERT6", "BERT1"))
# ... and layers that run twice, beside a student that stores all the layers that are run
EQUAL_LATENCY = (
    ("BERT{}-SPS-1", "BERT{}-PatientKD"), ("BERT{}-SPS-2", "BERT{}-PatientKD"),
    ("PeaBERT{}", "BERT{}-PatientKD"),
)  # fmt: skip
RUN_TWICE = (1, 3)  # depths of which there is a student twice as deep
_BASELINE_PAIRS = (
    *((new.format(n), old.format(n)) for n in DEPTHS for new, old in STEPS),
    *((f"{new}-{arm}", f"{old}-{arm}") for arm in ("FineTuned", "KD") for new, old in _DEEPER),
    *(("BERT-base", f"BERT6-{arm}") for arm in ("FineTuned", "KD")),
    *((new.format(n), old.format(2 * n)) for n in RUN_TWICE for new, old in EQUAL_LATENCY),
)

# fmt: off
_RELATED_PAIRS = (
    ("PeaBERT3", "BERT3-PatientKD"), ("PeaBERT3", "DistilBERT3"), ("PeaBERT3", "TinyBERT3"),
    ("PeaBERT3", "MiniLM3"), ("PeaBERT3", "MiniLMv2-3"), ("TinyBERT4", "BERT4-PatientKD"),
    ("PeaBERT6", "BERT6-PatientKD"), ("PeaBERT6", "DistilBERT6"), ("PeaBERT6", "TinyBERT6"),
    ("PeaBERT6", "MiniLM6"), ("PeaBERT6", "MiniLMv2-6"), ("PeaBERT3", "WID"),
    ("PeaBERT3", "HomoDistil"), ("HomoDistil-PLATON", "HomoDistil"), ("Compacter", "BERT-base"),
    ("Compacter++", "Compacter"),
)
_TABLES = (
    Table("table1", "PTP labels of the teacher's predictions on the training data", "train",
          (Row("PTP labels", 0, Method("labels", loss="finetune")),)),
    Table("table2", "PeaBERT beside Patient KD", "test",
          (Row("BERT-base", 0, TEACHER),
           Row("BERT1-PatientKD", 1, PATIENT_KD), Row("PeaBERT1", 1, PEA_KD),
           Row("BERT2-PatientKD", 2, PATIENT_KD), Row("PeaBERT2", 2, PEA_KD),
           Row("BERT3-PatientKD", 3, PATIENT_KD), Row("PeaBERT3", 3, PEA_KD)),
          (("PeaBERT1", "BERT1-PatientKD"), ("PeaBERT2", "BERT2-PatientKD"),
           ("PeaBERT3", "BERT3-PatientKD"), ("PeaBERT1", "BERT2-PatientKD"),
           ("PeaBERT2", "BERT3-PatientKD")),
          our_pairs=(("PeaBERT1", "BERT2-PatientKD"), ("PeaBERT2", "BERT3-PatientKD"))),
    Table("table3", "Six layers: PeaBERT beside DistilBERT and TinyBERT", "dev",
          (Row("DistilBERT", 6, PRINTED), Row("TinyBERT", 6, PRINTED), Row("PeaBERT", 6, PEA_KD))),
    Table("table4", "Ablation of SPS", "dev",
          (Row("BERT3", 3, PATIENT_KD), Row("SPS-1", 3, SPS_1),
           Row("SPS-2", 3, SPS)),
          (("SPS-1", "BERT3"), ("SPS-2", "SPS-1"), ("SPS-2", "BERT3")), ablation=True),
    Table("table5", "Ablation of PTP", "dev",
          (Row("BERT3+SPS", 3, SPS), Row("BERT3+SPS+PTP-1", 3, replace(SPS, ptp="correct")),
           Row("BERT3+SPS+PTP-2", 3, replace(SPS, ptp="confident")),
           Row("BERT3+SPS+PTP", 3, PEA_KD)),
          (("BERT3+SPS+PTP-1", "BERT3+SPS"), ("BERT3+SPS+PTP-2", "BERT3+SPS"),
           ("BERT3+SPS+PTP", "BERT3+SPS"), ("BERT3+SPS+PTP", "BERT3+SPS+PTP-1"),
           ("BERT3+SPS+PTP", "BERT3+SPS+PTP-2")), ablation=True),
    # Beyond the paper: baselines at every depth ...
    Table("baselines", "What distillation, depth, sharing, swapping and PTP add", "",
          (Row("BERT-base", 0, TEACHER),
           *(Row(f"BERT{n}-{arm}", n, method)
             for arm, method in _BASELINES.items() for n in DEPTHS),
           *(Row(f"PeaBERT{n}", n, PEA_KD) for n in DEPTHS)),
          _BASELINE_PAIRS, _BASELINE_PAIRS),
    # ... and the paper's competitors and other methods, in the same harness.
    Table("related", "Other methods at the scale of a task, beside Patient KD and PeaBERT", "",
          (Row("BERT-base", 0, TEACHER),
           Row("BERT3-PatientKD", 3, PATIENT_KD), Row("PeaBERT3", 3, PEA_KD),
           Row("DistilBERT3", 3, Method(loss="distilbert")),
           Row("TinyBERT3", 3, Method(loss="tinybert")),
           Row("MiniLM3", 3, Method(loss="minilm")),
           Row("MiniLMv2-3", 3, Method(loss="minilm_v2")),
           Row("BERT4-PatientKD", 4, PATIENT_KD), Row("TinyBERT4", 4, Method(loss="tinybert")),
           Row("BERT6-PatientKD", 6, PATIENT_KD), Row("PeaBERT6", 6, PEA_KD),
           Row("DistilBERT6", 6, Method(loss="distilbert")),
           Row("TinyBERT6", 6, Method(loss="tinybert")),
           Row("MiniLM6", 6, Method(loss="minilm")),
           Row("MiniLMv2-6", 6, Method(loss="minilm_v2")),
           Row("WID", 0, Method(loss="wid")), Row("HomoDistil", 0, Method(loss="homodistil")),
           Row("HomoDistil-PLATON", 0, Method(loss="homodistil:platon")),
           Row("Compacter", 0, Method(loss="compacter")),
           Row("Compacter++", 0, Method(loss="compacter:ffn"))),
          _RELATED_PAIRS, _RELATED_PAIRS),
)
# fmt: on
TABLES = {table.name: table for table in _TABLES}


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        InputError: If there is none; it names the tables there are.
    """
    if name not in TABLES:
        raise one_of("table", name, TABLES)
    return TABLES[name]
