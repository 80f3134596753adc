"""Intervals and tests for scores that vary over seeds and over examples.

Every array is (seeds, examples), in percent: 0 or 100 for a wrong or right answer, or the
jackknife pseudo-values of a ratio such as F1. One analysis serves a single method (`mean_score`)
and the difference of two methods (`difference`): a crossed random-effects analysis of variance,

    y[s, i] = mean + seed[s] + example[i] + residual[s, i],

in which seeds and examples are both random samples. The interval is therefore about the method on
new seeds and new examples of the same kind. Tasks are independent (`combine`). docs/statistics.md
states the rules; benchmarks/coverage.py measures coverage and family-wise error.

Sources: Searle, Casella and McCulloch (1992), "Variance Components", chapter 4; Cochran and Cox
(1957), "Experimental Designs" (critical value under a sum of two variance estimates);
Satterthwaite (1946); Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 11
(jackknife); Holm (1979); Berger (1982), intersection-union tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
ALPHA = 1 - LEVEL  # of verdicts, on Holm-adjusted p values
VERDICT_SEEDS = 5  # no verdict on a method with fewer seeds
# What is adjusted together, declared before any result: one entry per kind of CSV
FAMILIES = {
    "comparisons": "all comparisons of the table: each pair on each task and on average",
    "decisions": "the average change of each decision that can act",
    "ledger": "all claims about differences that the profile can test, run or not",
    "ptp_difficulty": "all labels of all tasks, and all examples of each task",
}
NO_VERDICT = f"no verdict: fewer than {VERDICT_SEEDS} seeds"
INCONCLUSIVE, NOT_ADJUSTED = "inconclusive", "inconclusive after adjustment"
_SMALLEST_P = 1e-12  # smaller p values are reported as this one
_UNBOUNDED = (-math.inf, math.inf)
OF_DIFFERENCES = (-100.0, 100.0)  # limits of the difference of two scores, in points


class Part(NamedTuple):
    """One source of variance of an estimate and the degrees of freedom of its estimate."""

    variance: float
    df: float


@dataclass(frozen=True)
class Estimate:
    """A mean score or a difference, in points, with its interval and test.

    Attributes:
        estimate: The point estimate.
        low, high: Ends of the 95 % interval.
        p: Two-sided p value of "the true value is 0", unadjusted. The interval excludes 0 exactly
            when p < ALPHA (unless clipped to `limits`).
        seed_part: Variance due to the drawn seeds; variance 0 with one seed.
        example_part: Variance due to the drawn examples.
        seeds: Seeds behind the estimate. With one seed the interval covers examples only.
        examples: Examples behind the estimate, over all tasks.
        limits: Smallest and largest possible value; the interval is clipped to them.
    """

    estimate: float
    low: float
    high: float
    p: float
    seed_part: Part
    example_part: Part
    seeds: int
    examples: int
    limits: tuple[float, float] = _UNBOUNDED

    @property
    def standard_error(self) -> float:
        """Standard error over seeds and examples."""
        return math.sqrt(self.seed_part.variance + self.example_part.variance)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of the variance, for display."""
        return pooled((self.seed_part, self.example_part)).df


@dataclass(frozen=True)
class Compound:
    """Test of a claim about several differences at once.

    Attributes:
        holds: Whether every estimate is above 0.
        p: If it holds, of "some true difference is 0 or less"; else of "none is below 0".
    """

    holds: bool
    p: float


def mean_score(scores: np.ndarray) -> Estimate:
    """The mean score of one method on one task; the interval stays within 0 and 100.

    Args:
        scores: (seeds, examples) in percent, from `example_scores.py`.

    Raises:
        ValueError: If the array is empty, has another shape, or holds NaN.
    """
    return _crossed(np.asarray(scores, float), (0.0, 100.0))


def difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Second minus first, for two methods with the same seeds on the same examples.

    Args:
        first, second: (seeds, examples) in percent, from `example_scores.py`. The interval stays
            within -100 and 100.

    Raises:
        ValueError: If the shapes differ, or as `mean_score`.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(
            f"both methods need the same seeds and examples, "
            f"got shapes {first.shape} and {second.shape}"
        )
    return mean_difference(second - first, OF_DIFFERENCES)


def mean_difference(gains: np.ndarray, limits: tuple[float, float] = _UNBOUNDED) -> Estimate:
    """The mean of differences that have been taken, such as the average gain of several pairs.

    Args:
        gains: (seeds, examples) in points, differences of example scores.
        limits: Of the interval.

    Raises:
        ValueError: As `mean_score`.
    """
    return _crossed(np.asarray(gains, float), limits)


def _crossed(scores: np.ndarray, limits: tuple[float, float]) -> Estimate:
    """Variance of the mean in a crossed random-effects analysis of variance.

    With S seeds, n examples and the mean squares A (seeds), B (examples) and E (residual),

        E[A] = v_e + n v_s,   E[B] = v_e + S v_i,   E[E] = v_e,
        Var(mean) = v_s / S + v_i / n + v_e / (S n), estimated by (A + B - E) / (S n).

    Seed part: A / (S n) with S - 1 degrees of freedom. Example part: max(B - E, 0) / (S n) with
    n - 1. The standard error is at least 100 / n points, as if one example had changed its answer
    in all seeds: identical answers on n examples do not prove identical methods.
    """
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite and of shape (seeds, examples), both at least 1, "
            f"got shape {scores.shape}"
        )
    seeds, examples = scores.shape
    mean = scores.mean()
    centred = scores - mean
    sum_seeds = examples * np.sum(centred.mean(axis=1) ** 2)
    sum_examples = seeds * np.sum(centred.mean(axis=0) ** 2)
    sum_residual = max(np.sum(centred**2) - sum_seeds - sum_examples, 0.0)
    df_seeds, df_examples = seeds - 1, examples - 1
    ms_seeds = sum_seeds / max(df_seeds, 1)
    ms_examples = sum_examples / max(df_examples, 1)
    ms_residual = sum_residual / max(df_seeds * df_examples, 1)
    seed_variance = float(ms_seeds / (seeds * examples))
    example_variance = float(max(ms_examples - ms_residual, 0.0) / (seeds * examples))
    floor = (100.0 / examples) ** 2
    example_variance = max(example_variance, floor - seed_variance)
    parts = Part(seed_variance, max(df_seeds, 1)), Part(example_variance, max(df_examples, 1))
    return _estimate(float(mean), *parts, seeds, examples, limits)


def combine(estimates: Sequence[Estimate], weights: Sequence[float] | None = None) -> Estimate:
    """A weighted sum of estimates on different tasks, by default their average.

    Tasks have different examples, and their models are trained separately even under the same
    seed number, so the estimates are independent. Variances add, each part with Satterthwaite's
    degrees of freedom. Weights (1, -1) compare the gains on two tasks.

    Args:
        estimates: One per task.
        weights: One per estimate; 1 / number of tasks by default.

    Raises:
        ValueError: If there is no estimate, or not one weight for each.
    """
    if weights is None:
        weights = [1.0 / max(len(estimates), 1)] * len(estimates)
    if not estimates or len(weights) != len(estimates):
        raise ValueError(
            f"combine needs at least one estimate and one weight for each, "
            f"got {len(estimates)} estimates and {len(weights)} weights"
        )
    pairs = list(zip(weights, estimates, strict=True))
    seed_part, example_part = (
        pooled([Part(w * w * part.variance, part.df) for w, part in parts])
        for parts in (
            [(w, e.seed_part) for w, e in pairs],
            [(w, e.example_part) for w, e in pairs],
        )
    )
    ends = [sorted((w * e.limits[0], w * e.limits[1])) for w, e in pairs]
    return _estimate(
        sum(w * e.estimate for w, e in pairs),
        seed_part,
        example_part,
        min(e.seeds for e in estimates),
        sum(e.examples for e in estimates),
        (sum(low for low, _ in ends), sum(high for _, high in ends)),
    )


def pooled(parts: Sequence[Part]) -> Part:
    """Sum of independent variance estimates; df = (sum v)^2 / sum(v^2 / df) (Satterthwaite)."""
    total = sum(part.variance for part in parts)
    if total == 0:
        return Part(0.0, parts[0].df)
    return Part(total, total**2 / sum(part.variance**2 / part.df for part in parts))


def _quantile(p: float, seed_part: Part, example_part: Part) -> float:
    """Upper p quantile of the studentised estimate (Cochran and Cox 1957).

    The t quantiles of the two parts, weighted by their shares of the variance. A single t with
    Satterthwaite's degrees of freedom is too short in the tails that Holm's method uses: a small
    mean square of the seeds makes the variance small and the degrees of freedom large at once.
    """
    share = seed_part.variance / (seed_part.variance + example_part.variance)
    seed_quantile, example_quantile = (stdtrit(part.df, p) for part in (seed_part, example_part))
    return -float(share * seed_quantile + (1 - share) * example_quantile)


def _estimate(
    estimate: float,
    seed_part: Part,
    example_part: Part,
    seeds: int,
    examples: int,
    limits: tuple[float, float],
) -> Estimate:
    """The interval and p value that belong to an estimate and its two variances."""
    from scipy.optimize import brentq  # slow to import, and a plan does not need it

    error = math.sqrt(seed_part.variance + example_part.variance)
    half_width = _quantile(ALPHA / 2, seed_part, example_part) * error

    def excess(log_p: float) -> float:
        return _quantile(math.exp(log_p) / 2, seed_part, example_part) - abs(estimate) / error

    smallest = math.log(_SMALLEST_P)
    p = 1.0 if estimate == 0 else _SMALLEST_P
    if estimate != 0 and excess(smallest) > 0:
        p = math.exp(brentq(excess, smallest, 0.0))
    low, high = max(estimate - half_width, limits[0]), min(estimate + half_width, limits[1])
    return Estimate(estimate, low, high, p, seed_part, example_part, seeds, examples, limits)


def everywhere(estimates: Sequence[Estimate]) -> Compound:
    """Test of "every difference is above 0", for claims such as "better on every task".

    If all estimates are above 0, p is the largest of their p values (intersection-union test).
    Otherwise p is Bonferroni's: the smallest p value of a negative estimate times the number of
    estimates. "The gain on QNLI is the largest" is this test of QNLI's gain minus each other one.

    Args:
        estimates: Differences; they may be dependent.
    """
    if all(estimate.estimate > 0 for estimate in estimates):
        return Compound(True, max(estimate.p for estimate in estimates))
    smallest = min((e.p for e in estimates if e.estimate < 0), default=1.0)
    return Compound(False, min(1.0, len(estimates) * smallest))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values of one family, adjusted by Holm's method; NaN (no test) is kept and not counted.

    The k-th smallest of m is multiplied by m - k + 1, and is at least the one before it. The same
    as statsmodels' multipletests, which collects garbage at each call (60 ms).

    Args:
        p_values: (tests,) of the whole family, declared before looking at the data.

    Returns:
        (tests,) adjusted p values.
    """
    adjusted = np.array(p_values, float)
    order = np.argsort(adjusted)[: np.sum(~np.isnan(adjusted))]  # NaN is sorted to the end
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * adjusted[order]), 1.0)
    return adjusted


def verdict(difference: float, p: float, p_holm: float, seeds: int) -> str:
    """What one test of a family shows.

    Args:
        difference: The estimate; only its sign is used.
        p: Its p value. Below ALPHA, the 95 % interval excludes 0.
        p_holm: The p value adjusted within its family.
        seeds: Seeds behind the estimate.

    Returns:
        "better" or "worse" if the adjusted p is below ALPHA; otherwise NO_VERDICT, NOT_ADJUSTED
        (the interval excludes 0) or INCONCLUSIVE.
    """
    if seeds < VERDICT_SEEDS:
        return NO_VERDICT
    if p_holm < ALPHA:
        return "better" if difference > 0 else "worse"
    return NOT_ADJUSTED if p < ALPHA else INCONCLUSIVE


def detectable(estimate: Estimate) -> float:
    """The smallest true difference that a two-sided test at ALPHA finds with power 0.8, in points.

    (quantile(ALPHA / 2) + quantile(1 - 0.8)) standard errors.
    """
    parts = estimate.seed_part, estimate.example_part
    return (_quantile(ALPHA / 2, *parts) + _quantile(0.2, *parts)) * estimate.standard_error
