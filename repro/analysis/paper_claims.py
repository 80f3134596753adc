"""The paper's claims as it states them, and their values recomputed from its own tables.

The claims are listed in repro/config/printed/claims.csv.
"""

import math
from collections.abc import Hashable
from itertools import product
from typing import Any

import pandas as pd

from repro.config import printed
from repro.config.tasks import GLUE

Fields = dict[Hashable, Any]  # columns of a claim or of the ledger
BERT_LAYER = 7_087_872  # parameters of one layer of BERT-base: 768 hidden, 3,072 intermediate
BERT_BASE = 109_482_240  # with 23,837,184 in the embeddings and 590,592 in the pooler
PAPER_TASKS = [task.name for task in GLUE]
COUNTS = ("everywhere", "largest")  # how many differences are above 0
DIFFERENCES = ("difference", "mean difference", *COUNTS)
PARAMETERS = ("parameters", "parameters over", "same parameters")


def ledger() -> pd.DataFrame:
    """Read the claims as the paper states them.

    Returns:
        One row per claim. kind: how the value is computed. pairs: "method>against", separated by
        "; ", or one method; for kind "largest", the first pair on the task is claimed to gain more
        than every other pair and task. task: a task, "Avg" or "each". printed: NaN where the paper
        gives no number.
    """
    path = printed.FOLDER / "claims.csv"
    return pd.read_csv(path, keep_default_na=False, na_values={"printed": [""]})


def tasks_of(name: str) -> list[str]:
    """Expand "Avg" to the four tasks; any other name stands for itself."""
    return PAPER_TASKS if name == "Avg" else [name]


def pairs_of(claim: Fields) -> list[tuple[str, str]]:
    """Split the pairs of a claim into (method, against)."""
    return [
        (method, against)
        for method, _, against in (pair.partition(">") for pair in claim["pairs"].split("; "))
    ]


def differences_of(claim: Fields) -> list[tuple[tuple[str, str], str]]:
    """List every difference of a claim as (pair, task)."""
    every_task = claim["task"] == "each" or claim["kind"] == "largest"
    return list(product(pairs_of(claim), PAPER_TASKS if every_task else [claim["task"]]))


def recomputed(claim: Fields) -> float:
    """Recompute the value of a claim from the paper's own tables; NaN if they do not give it."""
    table, kind = claim["table"], claim["kind"]
    if kind == "parameters over":
        return BERT_BASE / 1e6
    if kind == "parameters":  # the paper counts the layers of BERT-base
        return int(printed.numbers()["layers"][table, claim["pairs"]]) * BERT_LAYER / 1e6
    if kind == "same parameters":
        return 0.0  # by construction: shared layers are the same tensors
    if kind == "score":
        return printed.paper(table, claim["pairs"], PAPER_TASKS)
    if kind not in DIFFERENCES:
        return math.nan
    gains = {
        ((method, against), name): printed.paper(table, method, tasks_of(name))
        - printed.paper(table, against, tasks_of(name))
        for (method, against), name in differences_of(claim)
    }
    if kind == "largest":
        claimed = gains.pop((pairs_of(claim)[0], claim["task"]))
        return float(sum(claimed > gain for gain in gains.values()))
    if kind == "everywhere":
        return float(sum(gain > 0 for gain in gains.values()))
    return sum(gains.values()) / len(gains)


def adds_up(claim: Fields, value: float) -> str:
    """Check a value against the printed one.

    Args:
        claim: A row of `ledger`.
        value: The value to check, usually the output of `recomputed`.

    Returns:
        "yes" if the value rounds to the printed one (for "over 109 million": lies in 109 .. 110),
        "no" if not, "" if it is NaN.
    """
    if math.isnan(value):
        return ""
    if claim["kind"] == "parameters over":
        return "yes" if claim["printed"] <= value < claim["printed"] + 1 else "no"
    return "yes" if abs(claim["printed"] - value) <= 0.05 + 1e-9 else "no"
