"""Intervals and tests over seeds and examples: cases by hand, invariances, small simulations."""

import importlib.util
import itertools
import json
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from repro.analysis import inference
from repro.analysis.example_scores import example_scores, pooled_ratio_scores, ratio_scores
from repro.analysis.inference import Estimate, Part
from repro.data import metrics
from repro.errors import InputError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def answers(seeds: int = 4, examples: int = 60, seed: int = 0, spread: float = 0.4) -> np.ndarray:
    """(seeds, examples) of 0 and 100, with easy and hard examples and better and worse seeds."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=examples) + spread * rng.normal(size=(seeds, 1)) + 0.5
    return 100.0 * (margin + 0.6 * rng.normal(size=(seeds, examples)) > 0)


def estimate(value: float, p: float, seeds: int = 5) -> Estimate:
    return Estimate(value, value - 1, value + 1, p, Part(1, 4), Part(1, 99), seeds, 100)


# one task


def test_variance_parts_of_a_table_by_hand():
    scores = np.array([[0.0, 100.0, 100.0], [0.0, 0.0, 100.0]])  # mean 50
    # seed means 66.7 and 33.3; example means 0, 50 and 100
    a = 3 * 2 * (50 / 3) ** 2 / 1
    b = 2 * 2 * 50.0**2 / 2
    e = (6 * 50.0**2 - a - 2 * b) / 2
    found = inference.difference(np.zeros((2, 3)), scores)
    assert found.estimate == 50
    assert found.seed_part == pytest.approx((a / 6, 1))
    # the example part is at least what one changed answer, 100 / 3 points, leaves for it
    assert found.example_part == pytest.approx((max((b - e) / 6, (100 / 3) ** 2 - a / 6), 2))


def test_variance_parts_above_the_floor_by_hand():
    """A, B and E are 15,000, 195,000 and 15,000; the parts are A / 6 and (B - E) / 6."""
    found = inference.mean_difference(np.array([[0.0, 300, 600], [0.0, 0, 600]]))
    assert (found.estimate, found.seed_part, found.example_part) == (250, (2500, 1), (30_000, 2))


def test_critical_value_weights_the_t_quantiles_by_the_variances():
    found = inference.difference(np.zeros((4, 60)), answers())
    (seed, seed_df), (example, example_df) = found.seed_part, found.example_part
    assert (seed_df, example_df) == (3, 59)
    assert min(seed, example) > 0
    share = seed / (seed + example)
    critical = share * stats.t.ppf(0.975, 3) + (1 - share) * stats.t.ppf(0.975, 59)
    assert found.standard_error == pytest.approx(np.sqrt(seed + example))
    assert found.high - found.estimate == pytest.approx(critical * found.standard_error)
    assert found.df == pytest.approx((seed + example) ** 2 / (seed**2 / 3 + example**2 / 59))


def test_moments_match_the_variance_components():
    rng, found = np.random.default_rng(1), []
    for _ in range(1500):
        scores = (
            5 * rng.normal(size=(4, 1)) + 20 * rng.normal(size=30) + 15 * rng.normal(size=(4, 30))
        )
        one = inference.difference(np.zeros((4, 30)), scores)
        found.append((one.estimate, one.standard_error**2))
    means, variances = np.array(found).T
    expected = 25 / 4 + 400 / 30 + 225 / 120
    assert means.var() == pytest.approx(expected, rel=0.12)
    assert variances.mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_p_is_below_alpha_exactly_where_the_interval_excludes_0(seed):
    first, second = answers(seed=seed), answers(seed=seed + 100)
    found = inference.difference(first, second)
    edge = np.sign(found.estimate) * (abs(found.estimate) - (found.high - found.low) / 2)
    assert (found.p < inference.ALPHA) == (found.low > 0 or found.high < 0)
    shifted = inference.difference(first + edge, second)  # one end of the interval is now 0
    assert shifted.p == pytest.approx(inference.ALPHA, abs=1e-6)


def test_one_seed_is_a_t_test_over_examples():
    first, second = answers(1), answers(1, seed=5)
    found = inference.difference(first, second)
    expected = stats.ttest_1samp((second - first)[0], 0)
    assert (found.p, found.df) == pytest.approx((expected.pvalue, 59))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_with_equal_examples_only_seeds_count():
    by_seed = np.array([3.0, 5.0, 1.0, 4.0])
    found = inference.difference(np.zeros((4, 500)), np.repeat(by_seed[:, None], 500, axis=1))
    expected = stats.ttest_1samp(by_seed, 0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_equal_seeds_are_no_more_than_one_seed():
    one = answers(1)
    single, repeated = inference.mean_score(one), inference.mean_score(np.repeat(one, 5, axis=0))
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 30))
def test_order_of_seeds_and_examples_does_not_matter_and_exchange_changes_the_sign(
    seed, seeds, examples
):
    rng = np.random.default_rng(seed)
    first, second = answers(seeds, examples, seed), answers(seeds, examples, seed + 1)
    found = inference.difference(first, second)
    rows, columns = rng.permutation(seeds), rng.permutation(examples)
    shuffled = inference.difference(first[rows][:, columns], second[rows][:, columns])
    swapped = inference.difference(second, first)
    for other, sign in ((shuffled, 1), (swapped, -1)):
        assert sorted((sign * other.low, sign * other.high)) == pytest.approx(
            [found.low, found.high]
        )
        assert other.p == pytest.approx(found.p)


def test_identical_answers_give_a_narrow_interval_that_is_not_a_point():
    same = answers(5, 400)
    found = inference.difference(same, same)
    assert (found.estimate, found.p) == (0, 1)
    assert found.high == -found.low == pytest.approx(0.25 * stats.t.ppf(0.975, 399))


def test_a_perfect_score_has_an_interval_that_ends_at_100():
    found = inference.mean_score(np.full((3, 50), 100.0))
    assert (found.estimate, found.high) == (100, 100)
    assert 94 < found.low < 97
    average = inference.combine([found, found])
    assert (average.high, average.limits) == (100, (0, 100))


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("predicted", [0, 1])
def test_seeds_that_all_predict_one_class(metric, predicted):
    labels = np.arange(90) % 3 > 0
    collapsed = np.full((5, 90), predicted)
    scores = example_scores(metric, labels.astype(int), collapsed)
    found = inference.mean_score(scores)
    assert found.estimate == pytest.approx(
        metrics.METRICS[metric](labels.astype(int), collapsed)[0]
    )
    assert 0 <= found.low < found.high <= 100
    assert np.isfinite(found.p)


def test_one_collapsed_seed_widens_the_interval():
    scores = answers(5, 300, spread=0.05)
    narrow = inference.mean_score(scores)
    scores[0] = 100.0 * (np.arange(300) % 2)
    wide = inference.mean_score(scores)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros(4),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.array([[np.nan, 1.0]]),
        np.zeros((1, 2, 3)),
    ],
)
def test_scores_that_cannot_be_analysed_are_refused(scores):
    with pytest.raises(ValueError, match="shape"):
        inference.mean_score(scores)


def test_differences_need_the_same_seeds():
    with pytest.raises(ValueError, match=r"same seeds and examples.*\(3, 9\).*\(2, 9\)"):
        inference.difference(np.zeros((3, 9)), np.zeros((2, 9)))


# scores of single examples


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_the_mean_over_examples_is_the_metric(metric):
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(0, 2, 70), rng.integers(0, 2, (4, 70))
    scores = example_scores(metric, labels, predicted)
    assert scores.shape == (4, 70)
    assert scores.mean(axis=1) == pytest.approx(metrics.METRICS[metric](labels, predicted))


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    rng = np.random.default_rng(4)
    labels, predicted = rng.integers(0, 3, 80), rng.integers(0, 4, (2, 80))
    scores = example_scores("macro_f1", labels, predicted)
    expected = [100 * f1_score(labels, row, average="macro") for row in predicted]
    assert scores.mean(axis=1) == pytest.approx(expected)
    binary = labels % 2, predicted % 2
    halves = [example_scores("f1", *(array == k for array in binary)) for k in (0, 1)]
    assert example_scores("macro_f1", *binary) == pytest.approx(np.mean(halves, axis=0))


def test_f1_scores_are_shifted_jackknife_pseudo_values():
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 2, 25), rng.integers(0, 2, (1, 25))
    whole = metrics.f1(labels, predicted[0])
    rest = [metrics.f1(np.delete(labels, i), np.delete(predicted[0], i)) for i in range(25)]
    pseudo = 25 * whole - 24 * np.array(rest)
    assert example_scores("f1", labels, predicted)[0] == pytest.approx(
        pseudo - pseudo.mean() + whole
    )


def test_a_ratio_of_nothing_is_0():
    assert ratio_scores(np.zeros((2, 5)), np.zeros((2, 5))).tolist() == np.zeros((2, 5)).tolist()


def test_one_ratio_over_parts_that_differ_between_seeds():
    member = np.array([[1, 1, 0, 0], [0, 1, 1, 0]])
    gain = np.array([[1, 0, 1, 1], [1, -1, 1, 1]])
    scores = pooled_ratio_scores(gain * member, member)
    assert scores.shape == (2, 3)  # the last example is in no part
    assert scores.mean() == pytest.approx(100 * 1 / 4)
    everyone = np.ones((2, 4))
    assert pooled_ratio_scores(gain, everyone) == pytest.approx(100.0 * gain)
    with pytest.raises(ValueError, match="0 everywhere"):
        pooled_ratio_scores(gain, 0 * member)


def test_bad_metric_and_shapes_are_refused():
    with pytest.raises(InputError, match="unknown metric 'mcc'"):
        example_scores("mcc", np.zeros(3), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"got shapes \(4,\) and \(2, 3\)"):
        example_scores("accuracy", np.zeros(4), np.zeros((2, 3)))


# several tasks and claims


def test_the_average_of_tasks_adds_the_variances():
    tasks = [inference.mean_score(answers(5, n, n)) for n in (50, 80, 200)]
    found = inference.combine(tasks)
    seeds = np.array([task.seed_part.variance for task in tasks]) / 9
    assert found.estimate == pytest.approx(np.mean([task.estimate for task in tasks]))
    assert found.seed_part == pytest.approx((seeds.sum(), seeds.sum() ** 2 / (seeds**2 / 4).sum()))
    assert found.standard_error == pytest.approx(
        np.sqrt(sum(task.standard_error**2 for task in tasks)) / 3
    )
    assert (found.seeds, found.examples) == (5, 330)


def test_the_average_of_one_task_is_that_task():
    task = inference.mean_score(answers())
    found = inference.combine([task])
    assert (found.estimate, found.low, found.high, found.p) == pytest.approx(
        (task.estimate, task.low, task.high, task.p)
    )


def test_a_contrast_of_tasks_subtracts():
    first, second = (inference.difference(answers(seed=k), answers(seed=k + 9)) for k in (1, 2))
    found = inference.combine([first, second], (1, -1))
    assert found.estimate == pytest.approx(first.estimate - second.estimate)
    assert found.standard_error**2 == pytest.approx(
        first.standard_error**2 + second.standard_error**2
    )


@pytest.mark.parametrize("weights", [None, (1,)])
def test_nothing_to_combine_is_refused(weights):
    with pytest.raises(ValueError, match="at least one estimate"):
        inference.combine([], weights)


def test_everywhere_needs_every_difference_and_one_clear_loss_refutes_it():
    good, weak, bad = estimate(3, 0.001), estimate(1, 0.2), estimate(-3, 0.001)
    assert inference.everywhere([good, weak]) == inference.Compound(True, 0.2)
    assert inference.everywhere([good, weak, bad]) == inference.Compound(False, 0.003)
    assert inference.everywhere([good, estimate(0, 1.0)]) == inference.Compound(False, 1.0)


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.5, 0.9, 1e-9, 0.02, 0.02], [0.7]])
def test_holm_agrees_with_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    assert inference.holm(p_values) == pytest.approx(expected)
    with_missing = inference.holm([np.nan, *p_values, np.nan])
    assert with_missing[1:-1] == pytest.approx(expected)
    assert np.isnan(with_missing[[0, -1]]).all()


def test_holm_of_no_test_is_empty():
    assert inference.holm([]).tolist() == []


def test_a_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(5)
    noise = 30 * rng.normal(size=(1, 2000))
    size = inference.detectable(inference.difference(np.zeros((1, 2000)), noise))
    assert size == pytest.approx(2.8 * 30 / np.sqrt(2000), rel=0.05)
    draws = 30 * rng.normal(size=(500, 1, 2000)) + size
    found = [inference.difference(np.zeros((1, 2000)), one).p < 0.05 for one in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


# simulations


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """benchmarks/coverage.py as a module."""
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARKS / "coverage.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("seeds", "sd"), [(3, 6.4), (5, 0.0), (5, 3.5)])
def test_intervals_cover(simulation, seeds, sd):
    rows = simulation.coverage(np.random.default_rng(seeds), seeds, sd, 200, bootstrap=False)
    covered = [row["covered"] for row in rows]
    assert len(covered) == 12  # mean and difference of five tasks and the average
    assert min(covered) > 88
    assert 93 < np.mean(covered) < 98.5


@pytest.mark.parametrize(
    ("difference", "p", "p_holm", "seeds", "expected"),
    [
        (2.0, 0.01, 0.04, 5, "better"),
        (-2.0, 0.01, 0.04, 5, "worse"),
        (2.0, 0.01, 0.06, 5, "inconclusive after adjustment"),
        (2.0, 0.06, 0.06, 5, "inconclusive"),
        (2.0, 1e-9, 1e-9, 4, "no verdict: fewer than 5 seeds"),
    ],
)
def test_verdicts(difference, p, p_holm, seeds, expected):
    assert inference.verdict(difference, p, p_holm, seeds) == expected


def test_the_page_on_statistics_declares_the_families():
    page = " ".join((BENCHMARKS.parent / "docs" / "statistics.md").read_text().split())
    assert [family for family in inference.FAMILIES.values() if family not in page] == []


def test_families_are_rarely_wrong(simulation):
    row = simulation.family_error(np.random.default_rng(1), 5, 3.5, 60)
    assert max(row[name]["wrong"] for name in ("pairs", "ledger", "all")) < 15
    assert 1.5 < row["single"] < 7


def test_committed_coverage_meets_the_goals(simulation):
    report = json.loads((BENCHMARKS / "results" / "coverage.json").read_text())
    assert simulation.missed(report["coverage"], report["family"]) == report["missed"] == []
    ours = [row for row in report["coverage"] if row["quantity"] != "bootstrap"]
    assert len(ours) == 12 * len(simulation.SEEDS) * len(simulation.SEED_SDS)
    assert max(row["error"] for row in ours) <= 0.5


def test_the_page_on_statistics_quotes_the_committed_coverage():
    report = json.loads((BENCHMARKS / "results" / "coverage.json").read_text())
    page = (BENCHMARKS.parent / "docs" / "statistics.md").read_text().splitlines()
    tables = [line for line in page if line.startswith("| ")]
    for seeds, sd in itertools.product((3, 5, 10), (0.0, 1.9, 3.5, 6.4)):
        covered = [
            row["covered"]
            for row in report["coverage"]
            if (row["seeds"], row["sd"]) == (seeds, sd)
            and row["task"] != "average"
            and row["quantity"] != "bootstrap"
        ]
        quoted = f"| {seeds} | {sd} | {min(covered):.1f} to {max(covered):.1f} |"
        assert any(line.startswith(quoted) for line in tables), quoted
    for row in report["family"]:
        wrong = [f"{row[name]['wrong']:.1f}" for name in ("pairs", "ledger", "all", "all, one t")]
        assert " | ".join([f"| {row['seeds']}", str(row["sd"]), *wrong]) + " |" in tables


def test_a_comparison_on_four_tasks_takes_milliseconds():
    tasks = [(answers(5, 2000, k), answers(5, 2000, k + 9)) for k in range(4)]
    inference.difference(*tasks[0])
    start = time.process_time()
    inference.combine([inference.difference(*task) for task in tasks])
    assert time.process_time() - start < 0.1
