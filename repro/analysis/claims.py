"""The ledger of the paper's claims: printed, recomputed from its own tables, and ours, with a verdict by rule.

repro/config/printed/claims.csv states the claims as data; every value and verdict is computed here, and written to
results/<profile>/ledger.csv. No torch here.
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

Fields = dict[Hashable, Any]  # a row of the ledger, or what was found about it
BERT_LAYER = 7_087_872  # parameters of one layer of BERT-base: 768 hidden, 3,072 intermediate
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not testable here")
COLUMNS = (
    "id",
    "section",
    "statement",
    "unit",
    "printed",
    "recomputed",
    "adds_up",
    "ours",
    "ci_low",
    "ci_high",
    "seeds",
    "size_in_interval",
    "verdict",
    "reason",
    "profile",
)
_TASKS = [task.name for task in GLUE]
_DIFFERENCES = ("difference", "mean difference", "largest difference", "everywhere")
_ABSENT: Fields = {"ours": math.nan, "ci_low": math.nan, "ci_high": math.nan, "seeds": 0}


def ledger() -> pd.DataFrame:
    """The claims as stated: repro/config/printed/claims.csv, one row each.

    kind: how it is computed. pairs: "method>against" separated by "; ", or one method. task: a task, "Avg" or "each".
    """
    return pd.read_csv(printed.FOLDER / "claims.csv", keep_default_na=False)


def of(profile_name: str) -> pd.DataFrame:
    """The ledger with the recomputed value, ours and the verdict: see COLUMNS. Reads the profile's CSVs only.

    A claim whose table was not run, or not on all its tasks, is "not testable here", with the command that makes it.
    Raises MissingError if the profile has no table at all.
    """
    frames = {name: _frame(name, profile_name) for name in ("table2", "table3", "table4", "table5")}
    pairs = {
        name: _frame(f"comparisons{name[-1]}", profile_name)
        for name in ("table2", "table4", "table5")
    }
    if all(frame is None for frame in frames.values()):
        raise MissingError(
            f"profile {profile_name} has no tables yet; run: make tables PROFILE={profile_name}"
        )
    rows = [
        _row(claim, frames.get(claim["table"]), pairs.get(claim["table"]), profile_name)
        for claim in ledger().to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _frame(name: str, profile_name: str) -> pd.DataFrame | None:
    """The CSV with the paper's names of the tasks, or None if it was not made."""
    if not tables.table_path(name, profile_name).is_file():
        return None
    frame = tables.read_table(name, profile_name)
    return frame.assign(
        task=[TASKS[task].paper_name if task in TASKS else task for task in frame["task"]]
    )


def _row(
    claim: Fields, frame: pd.DataFrame | None, pairs: pd.DataFrame | None, name: str
) -> Fields:
    again = recomputed(claim)
    found = ours(claim, frame, pairs, name)
    said = verdict(claim, found)
    inside = (
        found["ci_low"] <= claim["printed"] <= found["ci_high"]
        if claim["unit"] == "points"
        else None
    )
    known = math.isfinite(found["ci_low"]) and inside is not None
    return (
        claim
        | found
        | said
        | {
            "recomputed": round(again, DIGITS),
            "adds_up": adds_up(claim["printed"], again),
            "profile": name,
            "size_in_interval": ("yes" if inside else "no") if known else "",
        }
    )


def adds_up(value: float, again: float) -> str:
    """Whether the recomputed value rounds to the printed one ("yes", "no"); "" where nothing can be computed."""
    if math.isnan(again):
        return ""
    return "yes" if abs(value - again) <= 0.05 + 1e-9 else "no"


def recomputed(claim: Fields) -> float:
    """The claim's value from the single entries of the paper's own tables, averages taken anew; NaN for a cost."""
    table, kind = claim["table"], claim["kind"]
    if kind == "cost":
        return math.nan
    if kind == "parameters":  # the paper counts BERT-base's layers
        return int(printed.numbers()["layers"][table, claim["pairs"]]) * BERT_LAYER / 1e6
    if kind == "same parameters":
        return 0.0  # by construction: shared layers are the same tensors
    if kind == "score":
        return printed.paper(table, claim["pairs"], _TASKS)
    columns = [_TASKS] if claim["task"] == "Avg" else [[name] for name in _tasks(claim)]
    gaps = [
        printed.paper(table, method, part) - printed.paper(table, against, part)
        for method, against in _pairs(claim)
        for part in columns
    ]
    return _joined(claim["kind"], gaps)


def _joined(kind: str, gaps: list[float]) -> float:
    """Of several differences what the claim is about: their mean, the largest, or how many are above 0."""
    if kind == "everywhere":
        return float(sum(gap > 0 for gap in gaps))
    return max(gaps) if kind == "largest difference" else sum(gaps) / len(gaps)


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
    """Our value with its 95 % interval and seeds, or NaN with the "reason" why there is none.

    Of several differences the interval is that of the largest, or runs between the means of the single ends (they
    share examples, so it is no narrower than theirs joined); "lows", "highs" and "detectable" hold all of them.
    """
    reason = _untestable(claim, name) or _unmade(claim, frame, pairs, name)
    if reason:
        return _ABSENT | {"reason": reason}
    assert frame is not None
    if claim["kind"] in ("parameters", "same parameters"):
        return _parameters(claim, frame)
    if claim["kind"] == "score":
        row = frame[(frame["method"] == claim["pairs"]) & (frame["task"] == "Avg")].iloc[0]
        return {
            "ours": row["mean"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "seeds": int(row["seeds"]),
        }
    assert pairs is not None
    return _differences(claim, pairs)


def _untestable(claim: Fields, name: str) -> str:
    """Why no run of this profile can test the claim; "" if one can."""
    if claim["kind"] == "cost":
        return "a time on other hardware (the paper's: two T4, eight V100)"
    if claim["table"] == "table3" and claim["kind"] in _DIFFERENCES:
        return "DistilBERT and TinyBERT are not run here: the paper copies their numbers"
    if claim["kind"] in ("score", "parameters") and name != "paper":
        return f"a number of BERT-base on GLUE; profile {name} has {profile(name).data}, another encoder"
    if claim["kind"] == "score" and claim["table"] == "table2":
        return "scored by GLUE's test server, whose labels are not public: make submission"
    return "copied by the paper, not run" if claim["pairs"] in ("DistilBERT", "TinyBERT") else ""


def _unmade(
    claim: Fields, frame: pd.DataFrame | None, pairs: pd.DataFrame | None, name: str
) -> str:
    """What must be run first; "" if all is there."""
    wanted = set(_TASKS if claim["task"] in ("each", "Avg") else [claim["task"]])
    compared = pairs if claim["kind"] in _DIFFERENCES else frame
    if compared is None:
        return f"not run yet: make {claim['table']} PROFILE={name}"
    missing = sorted(wanted - set(compared["task"])) if claim["task"] else []
    return (
        f"not run on {', '.join(missing)}: make {claim['table']} PROFILE={name}" if missing else ""
    )


def _parameters(claim: Fields, frame: pd.DataFrame) -> Fields:
    """Millions of a method, or the largest gap between two methods of a pair; exact, so the interval is a point."""
    counts = frame.groupby("method")["parameters"].first()
    if claim["kind"] == "parameters":
        value = round(counts[claim["pairs"]] / 1e6, DIGITS)
    else:
        value = float(
            max(abs(counts[method] - counts[against]) for method, against in _pairs(claim))
        )
    return {"ours": value, "ci_low": value, "ci_high": value, "seeds": int(frame["seeds"].max())}


def _differences(claim: Fields, pairs: pd.DataFrame) -> Fields:
    keys = [(method, against, task) for method, against in _pairs(claim) for task in _tasks(claim)]
    rows = pairs.set_index(["method", "against", "task"]).loc[keys].reset_index()
    lows, highs, value = (
        rows["ci_low"],
        rows["ci_high"],
        _joined(claim["kind"], rows["difference"].tolist()),
    )
    largest = claim["kind"] == "largest difference"
    single = (
        rows.iloc[int(rows["difference"].argmax())] if largest else rows.mean(numeric_only=True)
    )
    low, high = (
        (math.nan, math.nan)
        if claim["kind"] == "everywhere"
        else (single["ci_low"], single["ci_high"])
    )
    return {
        "ours": round(value, DIGITS),
        "ci_low": round(low, DIGITS),
        "ci_high": round(high, DIGITS),
        "seeds": int(rows["seeds"].iloc[0]),
        "lows": lows.tolist(),
        "highs": highs.tolist(),
        "detectable": float(single["detectable"]),
        "examples": int(rows["examples"].max()),
    }


def verdict(claim: Fields, found: Fields) -> dict[str, str]:
    """The rule, the same for every claim of a kind.

    A difference is "reproduced" if its whole 95 % interval lies on the claimed side of 0, "not reproduced" if the whole
    interval lies on the other side, else, and with fewer than three seeds always, "inconclusive". A claim about every
    cell: reproduced if all intervals lie on the claimed side, not reproduced if any lies on the other. A score:
    reproduced if the printed one lies in the interval. A count: if it is equal to the printed digit. Whether the
    claimed *size* lies in the interval stands in a column of its own.
    """
    if "reason" in found:
        return {"verdict": "not testable here", "reason": found["reason"]}
    if claim["kind"] in _DIFFERENCES:
        return _by_sign(claim, found)
    if claim["kind"] == "score":
        fits = found["ci_low"] <= claim["printed"] <= found["ci_high"]
        reason = f"the printed score lies {'in' if fits else 'out of'} our interval"
    else:
        fits, reason = abs(found["ours"] - claim["printed"]) <= 0.05, "counted"
    return {"verdict": "reproduced" if fits else "not reproduced", "reason": reason}


def _by_sign(claim: Fields, found: Fields) -> dict[str, str]:
    """Every claimed difference is a gain, so that the claimed side is above 0."""
    if found["seeds"] < LEAST_SEEDS:
        return {
            "verdict": "inconclusive",
            "reason": f"fewer than {LEAST_SEEDS} seeds; SEEDS=5 would tell",
        }
    whole = claim["kind"] == "everywhere"
    ends = (
        list(zip(found["lows"], found["highs"], strict=True))
        if whole
        else [(found["ci_low"], found["ci_high"])]
    )
    if all(low > 0 for low, _ in ends):
        return {"verdict": "reproduced", "reason": "the interval lies on the claimed side of 0"}
    if any(high < 0 for _, high in ends):
        return {"verdict": "not reproduced", "reason": "an interval lies on the other side of 0"}
    said = (
        f"{sum(low <= 0 for low, _ in ends)} of {len(ends)} intervals hold 0"
        if whole
        else _sample(found)
    )
    return {"verdict": "inconclusive", "reason": said}


def _sample(found: Fields) -> str:
    """How large a sample would settle it: the error shrinks with the root of the examples (and of the seeds)."""
    size = abs(found["ours"])
    if size < 0.05:
        return f"no difference to find; this sample shows one of {found['detectable']:.1f} points"
    times = (found["detectable"] / size) ** 2
    sample = f"{found['examples']:,} dev examples, {found['seeds']} seeds"
    return f"about {max(times, 1):,.1f} times the sample ({sample}) would settle a difference of this size"
