"""The paper's own arithmetic: printed numbers that do not follow from its printed tables."""

import math
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd

from repro.analysis import paper_claims
from repro.config import printed
from repro.config.tasks import GLUE

_TENTH = Decimal("0.1")
_QUOTED = ("difference", "mean difference", "parameters")  # kinds of claims that quote a sum


def sums() -> pd.DataFrame:
    """Every average and every quoted sum of the paper, with its value from the printed entries.

    Returns:
        what, where, printed, exact (from the entries of the tables), averages (a quoted difference
        from the printed averages, else NaN), adds_up: whether exact, rounded half up, is printed.
    """
    rows = []
    for table, method in printed.numbers().index.to_list():
        exact = printed.paper(table, method, [task.name for task in GLUE])
        average = printed.paper(table, method, ["Avg"])
        where = f"Table {table.removeprefix('table')}"
        rows.append((f"average of {method}", where, average, exact, math.nan))
    for claim in paper_claims.ledger().to_dict("records"):
        in_text = "Table" not in claim["section"]
        if claim["kind"] in _QUOTED and in_text and math.isfinite(claim["printed"]):
            value = paper_claims.recomputed(claim)
            where = f"Section {claim['section']}".replace("Section Abstract", "Abstract")
            rows.append((claim["statement"], where, claim["printed"], value, _averages(claim)))
    frame = pd.DataFrame(rows, columns=["what", "where", "printed", "exact", "averages"])
    return frame.assign(adds_up=frame["exact"].map(_rounded) == frame["printed"].map(_rounded))


def _rounded(value: float) -> Decimal:
    """One decimal, halves up; the binary error of a float is removed first."""
    return Decimal(f"{value:.6f}").quantize(_TENTH, ROUND_HALF_UP)


def _averages(claim: paper_claims.Fields) -> float:
    """A quoted mean difference from the printed averages; NaN for other quoted numbers."""
    if claim["task"] != "Avg":
        return math.nan
    pairs = [pair.split(">") for pair in claim["pairs"].split("; ")]
    gains = [
        printed.paper(claim["table"], method, ["Avg"])
        - printed.paper(claim["table"], against, ["Avg"])
        for method, against in pairs
    ]
    return sum(gains) / len(gains)
