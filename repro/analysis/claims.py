"""The ledger of the paper's claims: printed, recomputed from its own tables, ours, and verdicts.

The claims are data, in repro/config/printed/claims.csv; values and verdicts are computed here from
the cells of the profile's tables and written to results/<profile>/ledger.csv.
"""

import math
from collections.abc import Hashable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import sidecar, tables
from repro.analysis.groups import Group, groups
from repro.analysis.inference import (
    ALPHA,
    INCONCLUSIVE,
    NOT_ADJUSTED,
    VERDICT_SEEDS,
    Compound,
    Estimate,
    combine,
    detectable,
    everywhere,
    holm,
    mean_difference,
    mean_score,
    verdict,
)
from repro.config import cells as experiments
from repro.config import printed
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tasks import GLUE, task
from repro.errors import MissingError

Fields = dict[Hashable, Any]  # columns of a claim or of the ledger
Groups = dict[tuple[str, str], Group]  # by row and the paper's name of the task
BERT_LAYER = 7_087_872  # parameters of one layer of BERT-base: 768 hidden, 3,072 intermediate
BERT_BASE = 109_482_240  # with 23,837,184 in the embeddings and 590,592 in the pooler
DIRECTIONS = ("reproduced", "not reproduced", INCONCLUSIVE, NOT_ADJUSTED, "not testable here")
SIZES = ("reproduced in size", "refuted in size", INCONCLUSIVE, "not comparable", "")
COLUMNS = tuple(
    "id section statement unit printed recomputed adds_up ours ci_low ci_high seeds p p_holm "
    "direction size reason profile".split()
)
SCORE_MARGIN = 1.0  # points; a score is reproduced if the interval is at most this on either side
_TASKS = [task.name for task in GLUE]
_DIFFERENCES = ("difference", "mean difference", "everywhere", "largest")
_COUNTS = ("everywhere", "largest")  # of the differences that are above 0
_PARAMETERS = ("parameters", "parameters over", "same parameters")
_ABSENT: Fields = {"ours": math.nan, "ci_low": math.nan, "ci_high": math.nan, "seeds": 0}


def ledger() -> pd.DataFrame:
    """The claims as stated, one row each.

    kind: how the claim is computed. pairs: "method>against", separated by "; ", or one method. For
    "largest", the first pair on the task is claimed to gain more than every other pair and task.
    task: a task, "Avg" or "each". printed: NaN where the paper gives no number.
    """
    path = printed.FOLDER / "claims.csv"
    return pd.read_csv(path, keep_default_na=False, na_values={"printed": [""]})


def of(profile_name: str, variant: str = "") -> pd.DataFrame:
    """Compare every claim with the finished cells of a profile's tables.

    Args:
        profile_name: The profile.
        variant: Of the tables; "textbook" for those of the textbook recipe.

    Returns:
        COLUMNS, one row per claim. ci_low, ci_high, p: 95 % interval and test over seeds and
        examples. p_holm: adjusted over all claims that are tested. direction: one of DIRECTIONS,
        by p_holm. size: one of SIZES, by the interval. A claim whose table was not run, or not on
        all its tasks, is "not testable here"; its reason has the command that makes the table.

    Raises:
        MissingError: The profile has no table, or a table's cells are missing.
    """
    names = ("table2", "table3", "table4", "table5")
    finished = {name: _finished(name, profile_name, variant) for name in names}
    options = tables.make_options(profile_name, variant)
    if not any(finished.values()):
        raise MissingError(f"no tables yet; run: make tables {options}")
    claims = ledger().to_dict("records")
    found = [
        ours(claim, finished.get(claim["table"], {}), profile_name, options) for claim in claims
    ]
    adjusted = holm([own.get("p", math.nan) for own in found]).tolist()
    rows = []
    for claim, own, p_holm in zip(claims, found, adjusted, strict=True):
        own["p_holm"] = p_holm
        value = recomputed(claim)
        derived = {
            "recomputed": value,
            "adds_up": adds_up(claim, value),
            "direction": direction(claim, own),
            "size": size(claim, own, profile_name),
            "profile": profile_name,
        }
        rows.append(claim | own | {"reason": reason(claim, own)} | derived)
    return tables.with_types(pd.DataFrame(rows, columns=list(COLUMNS))).round(DIGITS)


def _finished(name: str, profile_name: str, variant: str = "") -> Groups:
    """The finished cells of a table that was written; {} if it was not."""
    path = tables.table_path(name, profile_name, variant)
    if not path.is_file():
        return {}
    run, _ = sidecar.read(path, name)
    cells = experiments.plan(name, run.profile, run.tasks, run.seeds, run.recipe, run.overrides)
    return {(row, task(own).paper_name): group for (row, own), group in groups(cells).items()}


def adds_up(claim: Fields, value: float) -> str:
    """Whether the recomputed value agrees with the printed one ("yes", "no"); "" if it is NaN.

    It must round to the printed one; for "over 109 million" it must lie from 109 to 110.
    """
    if math.isnan(value):
        return ""
    if claim["kind"] == "parameters over":
        return "yes" if claim["printed"] <= value < claim["printed"] + 1 else "no"
    return "yes" if abs(claim["printed"] - value) <= 0.05 + 1e-9 else "no"


def recomputed(claim: Fields) -> float:
    """The value of a claim from the entries of the paper's own tables; NaN if there is none."""
    table, kind = claim["table"], claim["kind"]
    if kind == "parameters over":
        return BERT_BASE / 1e6
    if kind == "parameters":  # the paper counts the layers of BERT-base
        return int(printed.numbers()["layers"][table, claim["pairs"]]) * BERT_LAYER / 1e6
    if kind == "same parameters":
        return 0.0  # by construction: shared layers are the same tensors
    if kind == "score":
        return printed.paper(table, claim["pairs"], _TASKS)
    if kind not in _DIFFERENCES:
        return math.nan
    gains = {
        (pair, name): printed.paper(table, pair[0], columns)
        - printed.paper(table, pair[1], columns)
        for pair, name in _members(claim)
        for columns in [_TASKS if name == "Avg" else [name]]
    }
    if kind == "largest":
        claimed = gains.pop((_pairs(claim)[0], claim["task"]))
        return float(sum(claimed > gain for gain in gains.values()))
    if kind == "everywhere":
        return float(sum(gain > 0 for gain in gains.values()))
    return sum(gains.values()) / len(gains)


def _pairs(claim: Fields) -> list[tuple[str, str]]:
    return [
        (method, against)
        for method, _, against in (pair.partition(">") for pair in claim["pairs"].split("; "))
    ]


def _members(claim: Fields) -> list[tuple[tuple[str, str], str]]:
    """The (pair, task) of every difference of a claim."""
    every_task = claim["task"] == "each" or claim["kind"] == "largest"
    return list(product(_pairs(claim), _TASKS if every_task else [claim["task"]]))


def ours(claim: Fields, finished: Groups, profile_name: str, options: str) -> Fields:
    """Our value of a claim, with its 95 % interval, p value and seeds.

    Args:
        claim: A row of `ledger`.
        finished: The cells of its table; {} if it was not run.
        profile_name: The profile.
        options: Those of the command that makes a missing table, such as "PROFILE=demo".

    Returns:
        ours, ci_low, ci_high, seeds; p for a claim about differences; for a single difference also
        what `reason` needs. NaN, and a reason, if there is no value. A count of differences has no
        interval.
    """
    why = _untestable(claim, profile_name) or _not_run(claim, finished, options)
    if why:
        return _ABSENT | {"reason": why}
    kind = claim["kind"]
    if kind in _PARAMETERS:
        return _parameters(claim, finished)
    if kind == "score":
        scores = [mean_score(finished[claim["pairs"], name].example_scores) for name in _TASKS]
        return _interval(combine(scores))
    if kind == "everywhere":
        gains = [_gain([pair], name, finished) for pair, name in _members(claim)]
        return _count(gains, everywhere(gains))
    if kind == "largest":
        claimed = _pairs(claim)[0], claim["task"]
        others = [member for member in _members(claim) if member != claimed]
        gains = [_lead(claimed, other, finished) for other in others]
        return _count(gains, everywhere(gains))
    gain = _gain(_pairs(claim), claim["task"], finished)
    sample: Fields = {"detectable": detectable(gain), "examples": gain.examples}
    return _interval(gain) | sample | {"p": gain.p}


def _interval(estimate: Estimate) -> Fields:
    value, seeds = estimate.estimate, estimate.seeds
    return {"ours": value, "ci_low": estimate.low, "ci_high": estimate.high, "seeds": seeds}


def _count(gains: list[Estimate], test: Compound) -> Fields:
    """How many differences are above 0, and the test of all of them."""
    above = float(sum(gain.estimate > 0 for gain in gains))
    seeds = min(gain.seeds for gain in gains)
    return _ABSENT | {"ours": above, "seeds": seeds, "p": test.p, "holds": test.holds}


def _gain_scores(pairs: list[tuple[str, str]], name: str, finished: Groups) -> np.ndarray:
    """Method minus against, (seeds, examples) in points, mean over pairs: they share examples."""
    gains = [
        finished[method, name].example_scores - finished[against, name].example_scores
        for method, against in pairs
    ]
    return np.mean(gains, axis=0)


def _gain(pairs: list[tuple[str, str]], name: str, finished: Groups) -> Estimate:
    """The gain of the pairs on a task or, for "Avg", on average over tasks."""
    names = _TASKS if name == "Avg" else [name]
    return combine([mean_difference(_gain_scores(pairs, name, finished)) for name in names])


def _lead(
    claimed: tuple[tuple[str, str], str], other: tuple[tuple[str, str], str], finished: Groups
) -> Estimate:
    """The claimed gain minus another one: paired on the same task, else of independent tasks."""
    first, second = (_gain_scores([pair], name, finished) for pair, name in (claimed, other))
    if claimed[1] == other[1]:
        return mean_difference(first - second)
    return combine([mean_difference(first), mean_difference(second)], [1.0, -1.0])


def _untestable(claim: Fields, name: str) -> str:
    """Why no run of this profile can test the claim; "" if a run can."""
    if claim["kind"] == "cost":
        return "a time on other hardware (the paper's: two T4, eight V100)"
    if claim["kind"] == "wording":
        return "Table 2's baseline is BERT with Patient KD, not the original BERT"
    if claim["kind"] == "generality":
        return "about all encoders and tasks; each profile has one encoder and at most four tasks"
    if claim["task"] in profile(name).cannot_tell:
        return (
            f"this instrument cannot tell: on this {claim['task']} students of all depths score "
            "alike (docs/calibration.md)"
        )
    if claim["table"] == "table3" and claim["kind"] in _DIFFERENCES:
        return "DistilBERT and TinyBERT are not run here: the paper copies their numbers"
    if claim["kind"] in ("score", "parameters", "parameters over") and name != "paper":
        data = profile(name).data
        return f"a number of BERT-base on GLUE; profile {name} has {data}, another encoder"
    if claim["kind"] == "score" and claim["table"] == "table2":
        return "scored by GLUE's test server, whose labels are not public: make submission"
    return "copied by the paper, not run" if claim["pairs"] in ("DistilBERT", "TinyBERT") else ""


def _not_run(claim: Fields, finished: Groups, options: str) -> str:
    """What must be run first; "" if everything is there."""
    command = f"make {claim['table']} {options}"
    if not finished:
        return f"not run yet: {command}"
    every_task = claim["kind"] == "largest" or claim["task"] in ("each", "Avg")
    wanted = _TASKS if every_task else [claim["task"]]
    missing = sorted(set(filter(None, wanted)) - {name for _, name in finished})
    return f"not run on {', '.join(missing)}: {command}" if missing else ""


def _parameters(claim: Fields, finished: Groups) -> Fields:
    """Millions of parameters, or the largest difference within a pair; exact, without interval."""
    column = "with_embeddings" if claim["kind"] == "parameters over" else "layers"
    counts = {row: group.results[0]["parameters"][column] for (row, _), group in finished.items()}
    if claim["kind"] == "same parameters":
        value = float(max(abs(counts[first] - counts[second]) for first, second in _pairs(claim)))
    else:
        value = counts[claim["pairs"]] / 1e6
    seeds = max(len(group.cells) for group in finished.values())
    return {"ours": value, "ci_low": value, "ci_high": value, "seeds": seeds}


def direction(claim: Fields, found: Fields) -> str:
    """Whether the claim holds, by the p value adjusted over the ledger: one of DIRECTIONS.

    Every claimed difference is a gain. A parameter count is reproduced if it agrees with the
    printed one. A score claims no direction: "". `found`: the result of `ours`, and p_holm.
    """
    if "reason" in found:
        return "not testable here"
    if claim["kind"] == "score":
        return ""
    if claim["kind"] in _PARAMETERS:
        agrees = adds_up(claim, found["ours"]) == "yes"
        return "reproduced" if agrees else "not reproduced"
    sign = found["ours"] if claim["kind"] not in _COUNTS else (1 if found["holds"] else -1)
    shown = verdict(sign, found["p"], found["p_holm"], found["seeds"])
    names = {"better": "reproduced", "worse": "not reproduced", NOT_ADJUSTED: NOT_ADJUSTED}
    return names.get(shown, INCONCLUSIVE)


def size(claim: Fields, found: Fields, profile_name: str) -> str:
    """Whether a printed gain or score is confirmed, by our 95 % interval: one of SIZES.

    A gain is "reproduced in size" if the interval excludes 0 and contains the printed gain, a score
    if the interval contains it and is no wider than SCORE_MARGIN on either side. Both are "refuted
    in size" if the interval excludes the printed value. Miniature tasks are no GLUE tasks: "not
    comparable". "" for counts and for what is not testable. `found`: the result of `ours`.
    """
    if "reason" in found or claim["kind"] not in ("difference", "mean difference", "score"):
        return ""
    if profile(profile_name).task_prefix:
        return "not comparable"
    if found["seeds"] < VERDICT_SEEDS:
        return INCONCLUSIVE
    low, high = found["ci_low"], found["ci_high"]
    if not low <= claim["printed"] <= high:
        return "refuted in size"
    if claim["kind"] == "score":
        precise = max(found["ours"] - low, high - found["ours"]) <= SCORE_MARGIN
        return "reproduced in size" if precise else INCONCLUSIVE
    return "reproduced in size" if low > 0 or high < 0 else INCONCLUSIVE


def reason(claim: Fields, found: Fields) -> str:
    """Why the verdicts are what they are; where inconclusive, the sample that would decide."""
    if "reason" in found:
        return found["reason"]
    if claim["kind"] in _PARAMETERS:
        return "counted"
    if found["seeds"] < VERDICT_SEEDS:
        covered = "; the interval covers examples only" if found["seeds"] == 1 else ""
        return f"fewer than {VERDICT_SEEDS} seeds{covered}; use SEEDS={VERDICT_SEEDS}"
    if claim["kind"] == "score":
        inside = found["ci_low"] <= claim["printed"] <= found["ci_high"]
        return f"the printed score lies {'in' if inside else 'outside'} our interval"
    adjusted = f"p = {found['p']:.2g}, adjusted {found['p_holm']:.2g}"
    if found["p"] < ALPHA or claim["kind"] in _COUNTS:
        return adjusted
    value, smallest = abs(found["ours"]), found["detectable"]
    if value < 0.05:
        return f"{adjusted}; no difference; the minimum detectable one is {smallest:.1f} points"
    # the error shrinks with the square root of the number of examples (and of seeds)
    times = max((smallest / value) ** 2, 1)
    sample = f"{found['examples']:,} dev examples, {found['seeds']} seeds"
    return f"{adjusted}; about {times:,.1f} times the sample ({sample}) would find this difference"
