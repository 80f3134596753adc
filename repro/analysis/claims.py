"""The ledger of the paper's claims: printed, recomputed from its own tables, ours, and a verdict.

The claims are data, in repro/config/printed/claims.csv; values and verdicts are computed here and
written to results/<profile>/ledger.csv.
"""

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from repro.analysis import tables
from repro.analysis.stats import LEAST_SEEDS
from repro.config import printed
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tasks import GLUE, TASKS
from repro.errors import MissingError

Fields = dict[Hashable, Any]  # columns of a claim or of the ledger
BERT_LAYER = 7_087_872  # parameters of one layer of BERT-base: 768 hidden, 3,072 intermediate
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not testable here")
COLUMNS = tuple(
    "id section statement unit printed recomputed adds_up ours ci_low ci_high seeds "
    "size_in_interval verdict reason profile".split()
)
_TASKS = [task.name for task in GLUE]
_DIFFERENCES = ("difference", "mean difference", "largest difference", "everywhere")
_ABSENT: Fields = {"ours": math.nan, "ci_low": math.nan, "ci_high": math.nan, "seeds": 0}


def ledger() -> pd.DataFrame:
    """The claims as stated, one row each.

    kind: how the claim is computed. pairs: "method>against", separated by "; ", or one method.
    task: a task, "Avg" or "each".
    """
    return pd.read_csv(printed.FOLDER / "claims.csv", keep_default_na=False)


def of(profile_name: str) -> pd.DataFrame:
    """Compare every claim with the CSVs of a profile.

    Returns:
        COLUMNS, one row per claim. A claim whose table was not run, or not on all its tasks, is
        "not testable here"; its reason has the command that makes the table.

    Raises:
        MissingError: The profile has no table.
    """
    frames = {name: _frame(name, profile_name) for name in ("table2", "table3", "table4", "table5")}
    pairs = {
        name: _frame(name.replace("table", "comparisons"), profile_name)
        for name in ("table2", "table4", "table5")
    }
    if all(frame is None for frame in frames.values()):
        raise MissingError(
            f"profile {profile_name} has no tables yet; run: make tables PROFILE={profile_name}"
        )
    rows = []
    for claim in ledger().to_dict("records"):
        value = recomputed(claim)
        own = ours(claim, frames.get(claim["table"]), pairs.get(claim["table"]), profile_name)
        inside = ""
        if claim["unit"] == "points" and math.isfinite(own["ci_low"]):
            inside = "yes" if own["ci_low"] <= claim["printed"] <= own["ci_high"] else "no"
        derived = {
            "recomputed": round(value, DIGITS),
            "adds_up": adds_up(claim["printed"], value),
            "profile": profile_name,
            "size_in_interval": inside,
        }
        rows.append(claim | own | verdict(claim, own) | derived)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _frame(name: str, profile_name: str) -> pd.DataFrame | None:
    """The CSV with the paper's names of the tasks; None if it does not exist."""
    if not tables.table_path(name, profile_name).is_file():
        return None
    frame = tables.read_table(name, profile_name)
    return frame.assign(
        task=[TASKS[task].paper_name if task in TASKS else task for task in frame["task"]]
    )


def adds_up(value: float, again: float) -> str:
    """Whether the recomputed value rounds to the printed one ("yes", "no"); "" if it is NaN."""
    if math.isnan(again):
        return ""
    return "yes" if abs(value - again) <= 0.05 + 1e-9 else "no"


def recomputed(claim: Fields) -> float:
    """The value of a claim from the single entries of the paper's own tables; NaN for a cost."""
    table, kind = claim["table"], claim["kind"]
    if kind == "cost":
        return math.nan
    if kind == "parameters":  # the paper counts the layers of BERT-base
        return int(printed.numbers()["layers"][table, claim["pairs"]]) * BERT_LAYER / 1e6
    if kind == "same parameters":
        return 0.0  # by construction: shared layers are the same tensors
    if kind == "score":
        return printed.paper(table, claim["pairs"], _TASKS)
    columns = [_TASKS] if claim["task"] == "Avg" else [[name] for name in _tasks(claim)]
    differences = [
        printed.paper(table, method, part) - printed.paper(table, against, part)
        for method, against in _pairs(claim)
        for part in columns
    ]
    return _combined(kind, differences)


def _combined(kind: str, differences: list[float]) -> float:
    """The mean of the differences, the largest, or how many are above 0, as the claim says."""
    if kind == "everywhere":
        return float(sum(difference > 0 for difference in differences))
    if kind == "largest difference":
        return max(differences)
    return sum(differences) / len(differences)


def _pairs(claim: Fields) -> list[tuple[str, str]]:
    return [
        (method, against)
        for method, _, against in (pair.partition(">") for pair in claim["pairs"].split("; "))
    ]


def _tasks(claim: Fields) -> list[str]:
    return _TASKS if claim["task"] == "each" else [claim["task"]]


def ours(
    claim: Fields, frame: pd.DataFrame | None, pairs: pd.DataFrame | None, name: str
) -> Fields:
    """Our value of a claim, with its 95 % interval and seeds.

    Args:
        claim: A row of `ledger`.
        frame: The table of the claim, with the paper's names of the tasks.
        pairs: The comparisons of that table.
        name: The profile.

    Returns:
        ours, ci_low, ci_high, seeds; NaN, and a reason, if there is no value. For several
        differences the interval is that of the largest, or has the means of the single ends (they
        share examples, so it is at least as wide as their joint interval); "lows" and "highs" are
        the single ends.
    """
    reason = _untestable(claim, name) or _not_run(claim, frame, pairs, name)
    if reason:
        return _ABSENT | {"reason": reason}
    assert frame is not None
    if claim["kind"] in ("parameters", "same parameters"):
        return _parameters(claim, frame)
    if claim["kind"] == "score":
        row = frame[(frame["method"] == claim["pairs"]) & (frame["task"] == "Avg")].iloc[0]
        low, high = row["ci_low"], row["ci_high"]
        return {"ours": row["mean"], "ci_low": low, "ci_high": high, "seeds": int(row["seeds"])}
    assert pairs is not None
    return _differences(claim, pairs)


def _untestable(claim: Fields, name: str) -> str:
    """Why no run of this profile can test the claim; "" if a run can."""
    if claim["kind"] == "cost":
        return "a time on other hardware (the paper's: two T4, eight V100)"
    if claim["table"] == "table3" and claim["kind"] in _DIFFERENCES:
        return "DistilBERT and TinyBERT are not run here: the paper copies their numbers"
    if claim["kind"] in ("score", "parameters") and name != "paper":
        data = profile(name).data
        return f"a number of BERT-base on GLUE; profile {name} has {data}, another encoder"
    if claim["kind"] == "score" and claim["table"] == "table2":
        return "scored by GLUE's test server, whose labels are not public: make submission"
    return "copied by the paper, not run" if claim["pairs"] in ("DistilBERT", "TinyBERT") else ""


def _not_run(
    claim: Fields, frame: pd.DataFrame | None, pairs: pd.DataFrame | None, name: str
) -> str:
    """What must be run first; "" if everything is there."""
    wanted = set(_TASKS if claim["task"] in ("each", "Avg") else [claim["task"]])
    used = pairs if claim["kind"] in _DIFFERENCES else frame
    command = f"make {claim['table']} PROFILE={name}"
    if used is None:
        return f"not run yet: {command}"
    missing = sorted(wanted - set(used["task"])) if claim["task"] else []
    return f"not run on {', '.join(missing)}: {command}" if missing else ""


def _parameters(claim: Fields, frame: pd.DataFrame) -> Fields:
    """Millions of parameters, or the largest difference within a pair; exact, without interval."""
    counts = frame.groupby("method")["parameters"].first()
    if claim["kind"] == "parameters":
        value = round(counts[claim["pairs"]] / 1e6, DIGITS)
    else:
        value = float(max(abs(counts[first] - counts[second]) for first, second in _pairs(claim)))
    return {"ours": value, "ci_low": value, "ci_high": value, "seeds": int(frame["seeds"].max())}


def _differences(claim: Fields, pairs: pd.DataFrame) -> Fields:
    """The differences of a claim, combined, with an interval and the single ends."""
    keys = [(method, against, task) for method, against in _pairs(claim) for task in _tasks(claim)]
    rows = pairs.set_index(["method", "against", "task"]).loc[keys].reset_index()
    if claim["kind"] == "largest difference":
        source = rows.iloc[int(rows["difference"].argmax())]
    else:
        source = rows.mean(numeric_only=True)
    low, high = source["ci_low"], source["ci_high"]
    if claim["kind"] == "everywhere":  # a count has no interval
        low, high = math.nan, math.nan
    return {
        "ours": round(_combined(claim["kind"], rows["difference"].tolist()), DIGITS),
        "ci_low": round(low, DIGITS),
        "ci_high": round(high, DIGITS),
        "seeds": int(rows["seeds"].iloc[0]),
        "lows": rows["ci_low"].tolist(),
        "highs": rows["ci_high"].tolist(),
        "detectable": float(source["detectable"]),
        "examples": int(rows["examples"].max()),
    }


def verdict(claim: Fields, found: Fields) -> dict[str, str]:
    """The verdict on a claim, by one rule for each kind.

    Every claimed difference is a gain. It is "reproduced" if its 95 % interval is above 0 and "not
    reproduced" if it is below 0; otherwise, and with fewer than three seeds, it is "inconclusive".
    A claim about every cell is reproduced if all intervals are above 0, and not reproduced
    if any is below. A score is reproduced if the printed one is in the interval, a count if it
    rounds to the printed one. Whether the claimed size is in the interval is a separate column.

    Args:
        claim: A row of `ledger`.
        found: The result of `ours`.

    Returns:
        verdict and reason.
    """
    if "reason" in found:
        return {"verdict": "not testable here", "reason": found["reason"]}
    if claim["kind"] in _DIFFERENCES:
        return _verdict_on_gain(claim, found)
    if claim["kind"] == "score":
        fits = found["ci_low"] <= claim["printed"] <= found["ci_high"]
        reason = f"the printed score lies {'in' if fits else 'out of'} our interval"
    else:
        fits, reason = abs(found["ours"] - claim["printed"]) <= 0.05, "counted"
    return {"verdict": "reproduced" if fits else "not reproduced", "reason": reason}


def _verdict_on_gain(claim: Fields, found: Fields) -> dict[str, str]:
    """The verdict on a difference; its reason says how large a sample would decide it."""
    if found["seeds"] < LEAST_SEEDS:
        reason = f"fewer than {LEAST_SEEDS} seeds; SEEDS=5 would tell"
        return {"verdict": "inconclusive", "reason": reason}
    ends = [(found["ci_low"], found["ci_high"])]
    if claim["kind"] == "everywhere":
        ends = list(zip(found["lows"], found["highs"], strict=True))
    if all(low > 0 for low, _ in ends):
        return {"verdict": "reproduced", "reason": "the interval lies on the claimed side of 0"}
    if any(high < 0 for _, high in ends):
        return {"verdict": "not reproduced", "reason": "an interval lies on the other side of 0"}
    size = abs(found["ours"])
    if claim["kind"] == "everywhere":
        reason = f"{sum(low <= 0 for low, _ in ends)} of {len(ends)} intervals hold 0"
    elif size < 0.05:
        shown = f"{found['detectable']:.1f}"
        reason = f"no difference to find; this sample shows one of {shown} points"
    else:  # the error shrinks with the square root of the number of examples (and of seeds)
        times = max((found["detectable"] / size) ** 2, 1)
        sample = f"{found['examples']:,} dev examples, {found['seeds']} seeds"
        reason = (
            f"about {times:,.1f} times the sample ({sample}) would settle a difference of this size"
        )
    return {"verdict": "inconclusive", "reason": reason}
