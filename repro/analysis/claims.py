"""The ledger of the paper's claims: each printed value, our value and a verdict.

Each claim of `paper_claims.ledger` is measured on the finished cells of a profile's tables and
judged. The result is written to results/<profile>/ledger.csv.
"""

import math

import numpy as np
import pandas as pd

from repro.analysis import sidecar, tables
from repro.analysis.groups import Group, groups, make_options
from repro.analysis.inference import (
    ALPHA,
    INCONCLUSIVE,
    NOT_ADJUSTED,
    VERDICT_SEEDS,
    Estimate,
    combine,
    detectable,
    everywhere,
    holm,
    mean_difference,
    mean_score,
    verdict,
)
from repro.analysis.paper_claims import (
    COUNTS,
    DIFFERENCES,
    PAPER_TASKS,
    PARAMETERS,
    Fields,
    adds_up,
    differences_of,
    ledger,
    pairs_of,
    recomputed,
    tasks_of,
)
from repro.config import cells as experiments
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tasks import task
from repro.errors import MissingError

Groups = dict[tuple[str, str], Group]  # by row and the paper's name of the task
COLUMNS = tuple(
    "id section statement unit printed recomputed adds_up ours ci_low ci_high seeds p p_holm "
    "direction size reason profile".split()
)
SCORE_MARGIN = 1.0  # points; a score is reproduced if the interval is at most this on either side
_ABSENT: Fields = {"ours": math.nan, "ci_low": math.nan, "ci_high": math.nan, "seeds": 0}


def judge_claims(profile_name: str, variant: str = "") -> pd.DataFrame:
    """Judge every claim on the finished cells of a profile's tables.

    Args:
        profile_name: The profile.
        variant: Variant of the tables, e.g. "textbook" for those of the textbook recipe.

    Returns:
        COLUMNS, one row per claim. ci_low, ci_high, p: 95 % interval and test over seeds and
        examples. p_holm: see `adjusted_p`. direction: see `direction`. size: see `size`. A claim
        whose table was not run, or not on all its tasks, is "not testable here"; its reason has the
        command that makes the table.

    Raises:
        MissingError: If the profile has no table, or cells of a table are missing.
    """
    names = ("table2", "table3", "table4", "table5")
    finished = {name: _finished(name, profile_name, variant) for name in names}
    options = make_options(profile_name, variant)
    if not any(finished.values()):
        raise MissingError(f"no tables yet; run: make tables {options}")
    claims = ledger().to_dict("records")
    results = [
        our_value(claim, finished.get(claim["table"], {}), profile_name, options)
        for claim in claims
    ]
    adjusted = adjusted_p(claims, results, profile_name)
    rows = []
    for claim, result, p_holm in zip(claims, results, adjusted, strict=True):
        result["p_holm"] = p_holm
        value = recomputed(claim)
        judged = {
            "recomputed": value,
            "adds_up": adds_up(claim, value),
            "direction": direction(claim, result),
            "size": size(claim, result, profile_name),
            "reason": reason(claim, result),
            "profile": profile_name,
        }
        rows.append(claim | result | judged)
    return tables.with_types(pd.DataFrame(rows, columns=list(COLUMNS))).round(DIGITS)


def adjusted_p(claims: list[Fields], results: list[Fields], profile_name: str) -> list[float]:
    """Adjust p values over all claims that the profile can test, so also over those not run.

    Otherwise a verdict would be easier if fewer tables were run. A claim that was not run counts
    like one with p = 1.

    Args:
        claims: Rows of `ledger`.
        results: Their outputs of `our_value`.
        profile_name: The profile.

    Returns:
        The adjusted p value of each claim; NaN if it was not tested.
    """
    p_values = np.array([result.get("p", math.nan) for result in results])
    testable = [
        claim["kind"] in DIFFERENCES and not _untestable(claim, profile_name) for claim in claims
    ]
    family = np.where(np.isnan(p_values) & testable, 1.0, p_values)
    return np.where(np.isnan(p_values), math.nan, holm(family)).tolist()


def _finished(table: str, profile_name: str, variant: str = "") -> Groups:
    """The cells of a table by row and task; {} if the table was not made."""
    path = tables.table_path(table, profile_name, variant)
    if not path.is_file():
        return {}
    run, _ = sidecar.read(path, table)
    cells = experiments.plan(table, run.profile, run.tasks, run.seeds, run.recipe, run.overrides)
    return {(row, task(name).paper_name): group for (row, name), group in groups(cells).items()}


def our_value(claim: Fields, finished: Groups, profile_name: str, options: str) -> Fields:
    """Compute our value of a claim, with its 95 % interval, p value and number of seeds.

    Args:
        claim: A row of `ledger`.
        finished: The cells of its table; {} if it was not run.
        profile_name: The profile.
        options: Options of the command that makes a missing table, such as "PROFILE=demo".

    Returns:
        ours, ci_low, ci_high, seeds; p for a claim about differences; for a single difference also
        what `reason` needs. NaN, and a reason, if there is no value. A count of differences has no
        interval.
    """
    why = _untestable(claim, profile_name) or _not_run(claim, finished, options)
    if why:
        return _ABSENT | {"reason": why}
    kind = claim["kind"]
    if kind in PARAMETERS:
        return _parameters(claim, finished)
    if kind == "score":
        scores = [mean_score(finished[claim["pairs"], name].example_scores) for name in PAPER_TASKS]
        return _interval(combine(scores))
    if kind == "everywhere":
        return _count([_gain([pair], name, finished) for pair, name in differences_of(claim)])
    if kind == "largest":
        claimed = pairs_of(claim)[0], claim["task"]
        others = [member for member in differences_of(claim) if member != claimed]
        return _count([_lead(claimed, other, finished) for other in others])
    gain = _gain(pairs_of(claim), claim["task"], finished)
    sample: Fields = {"detectable": detectable(gain), "examples": gain.examples}
    return _interval(gain) | sample | {"p": gain.p}


def _interval(estimate: Estimate) -> Fields:
    value, seeds = estimate.estimate, estimate.seeds
    return {"ours": value, "ci_low": estimate.low, "ci_high": estimate.high, "seeds": seeds}


def _count(gains: list[Estimate]) -> Fields:
    """How many differences are above 0, and the test that all of them are."""
    above = float(sum(gain.estimate > 0 for gain in gains))
    seeds, test = min(gain.seeds for gain in gains), everywhere(gains)
    return _ABSENT | {"ours": above, "seeds": seeds, "p": test.p, "holds": test.holds}


def _gain_scores(pairs: list[tuple[str, str]], name: str, finished: Groups) -> np.ndarray:
    """Method minus against in points, (seeds, examples), mean over pairs."""
    gains = [
        finished[method, name].example_scores - finished[against, name].example_scores
        for method, against in pairs
    ]
    return np.mean(gains, axis=0)


def _gain(pairs: list[tuple[str, str]], name: str, finished: Groups) -> Estimate:
    """The gain of the pairs on a task or, for "Avg", on average over tasks."""
    scores = [_gain_scores(pairs, one_task, finished) for one_task in tasks_of(name)]
    return combine([mean_difference(score) for score in scores])


def _lead(
    claimed: tuple[tuple[str, str], str], other: tuple[tuple[str, str], str], finished: Groups
) -> Estimate:
    """The claimed gain minus another one: paired if on the same task, else independent."""
    first, second = (_gain_scores([pair], name, finished) for pair, name in (claimed, other))
    if claimed[1] == other[1]:
        return mean_difference(first - second)
    return combine([mean_difference(first), mean_difference(second)], [1.0, -1.0])


def _untestable(claim: Fields, name: str) -> str:
    """Why no run of this profile can test the claim; "" if one can."""
    if claim["kind"] == "cost":
        return "a time on other hardware (the paper's: two T4, eight V100)"
    if claim["kind"] == "wording":
        return "Table 2's baseline is BERT with Patient KD, not the original BERT"
    if claim["kind"] == "generality":
        return "about all encoders and tasks; each profile has one encoder and at most four tasks"
    if claim["task"] in profile(name).failed_gates:
        return (
            f"this instrument cannot tell: on this {claim['task']} students of all depths score "
            "alike (docs/calibration.md)"
        )
    if claim["table"] == "table3" and claim["kind"] in DIFFERENCES:
        return "DistilBERT and TinyBERT are not run here: the paper copies their numbers"
    if claim["kind"] in ("score", "parameters", "parameters over") and name != "paper":
        data = profile(name).data
        return f"a number of BERT-base on GLUE; profile {name} has {data}, another encoder"
    if claim["kind"] == "score" and claim["table"] == "table2":
        return "scored by GLUE's test server, whose labels are not public: make submission"
    return "copied by the paper, not run" if claim["pairs"] in ("DistilBERT", "TinyBERT") else ""


def _not_run(claim: Fields, finished: Groups, options: str) -> str:
    """What must be run before the claim can be tested; "" if nothing."""
    command = f"make {claim['table']} {options}"
    if not finished:
        return f"not run yet: {command}"
    every_task = claim["kind"] == "largest" or claim["task"] in ("each", "Avg")
    needed = PAPER_TASKS if every_task else [claim["task"]]
    missing = sorted(set(filter(None, needed)) - {name for _, name in finished})
    return f"not run on {', '.join(missing)}: {command}" if missing else ""


def _parameters(claim: Fields, finished: Groups) -> Fields:
    """Millions of parameters, or the largest difference within a pair; both are exact."""
    column = "with_embeddings" if claim["kind"] == "parameters over" else "layers"
    counts = {row: group.results[0]["parameters"][column] for (row, _), group in finished.items()}
    if claim["kind"] == "same parameters":
        value = float(max(abs(counts[first] - counts[second]) for first, second in pairs_of(claim)))
    else:
        value = counts[claim["pairs"]] / 1e6
    seeds = max(len(group.cells) for group in finished.values())
    return {"ours": value, "ci_low": value, "ci_high": value, "seeds": seeds}


def direction(claim: Fields, result: Fields) -> str:
    """Judge whether a claim holds, by the p value adjusted over the ledger.

    Args:
        claim: A row of `ledger`. Every claimed difference is a gain.
        result: The output of `our_value`, with p_holm.

    Returns:
        "reproduced", "not reproduced", "inconclusive", "inconclusive after adjustment" or "not
        testable here"; for a parameter count, whether it agrees with the printed one. "" for a
        score, which claims no direction.
    """
    if "reason" in result:
        return "not testable here"
    if claim["kind"] == "score":
        return ""
    if claim["kind"] in PARAMETERS:
        return "reproduced" if adds_up(claim, result["ours"]) == "yes" else "not reproduced"
    sign = result["ours"] if claim["kind"] not in COUNTS else (1 if result["holds"] else -1)
    judgement = verdict(sign, result["p"], result["p_holm"], result["seeds"])
    names = {"better": "reproduced", "worse": "not reproduced", NOT_ADJUSTED: NOT_ADJUSTED}
    return names.get(judgement, INCONCLUSIVE)


def size(claim: Fields, result: Fields, profile_name: str) -> str:
    """Judge whether a printed gain or score is confirmed, by our 95 % interval.

    Args:
        claim: A row of `ledger`.
        result: The output of `our_value`.
        profile_name: The profile.

    Returns:
        "reproduced in size": the interval contains the printed value and, for a
        gain, excludes 0; for a score, it is no wider than SCORE_MARGIN on either side. "refuted in
        size": it excludes the printed value. "not comparable": the tasks are miniatures. "": the
        claim is a count, or not testable.
    """
    if "reason" in result or claim["kind"] not in ("difference", "mean difference", "score"):
        return ""
    if profile(profile_name).task_prefix:
        return "not comparable"
    if result["seeds"] < VERDICT_SEEDS:
        return INCONCLUSIVE
    low, high = result["ci_low"], result["ci_high"]
    if not low <= claim["printed"] <= high:
        return "refuted in size"
    if claim["kind"] == "score":
        precise = max(result["ours"] - low, high - result["ours"]) <= SCORE_MARGIN
    else:
        precise = low > 0 or high < 0
    return "reproduced in size" if precise else INCONCLUSIVE


def reason(claim: Fields, result: Fields) -> str:
    """Explain the verdicts on a claim.

    Args:
        claim: A row of `ledger`.
        result: The output of `our_value`, with p_holm.

    Returns:
        One sentence; where inconclusive, with the size of a sample that would be conclusive.
    """
    if "reason" in result:
        return result["reason"]
    if claim["kind"] in PARAMETERS:
        return "counted"
    if result["seeds"] < VERDICT_SEEDS:
        covered = "; the interval covers examples only" if result["seeds"] == 1 else ""
        return f"fewer than {VERDICT_SEEDS} seeds{covered}; use SEEDS={VERDICT_SEEDS}"
    if claim["kind"] == "score":
        inside = result["ci_low"] <= claim["printed"] <= result["ci_high"]
        return f"the printed score lies {'in' if inside else 'outside'} our interval"
    adjusted = f"p = {result['p']:.2g}, adjusted {result['p_holm']:.2g}"
    if result["p"] < ALPHA or claim["kind"] in COUNTS:
        return adjusted
    value, smallest = abs(result["ours"]), result["detectable"]
    if value < 0.05:
        return f"{adjusted}; no difference; the minimum detectable one is {smallest:.1f} points"
    # the error shrinks with the square root of the number of examples (and of seeds)
    times = max((smallest / value) ** 2, 1)
    sample = f"{result['examples']:,} dev examples, {result['seeds']} seeds"
    return f"{adjusted}; about {times:,.1f} times the sample ({sample}) would find this difference"
