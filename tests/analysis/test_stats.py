"""Means, intervals and tests: small cases by hand, and properties such as coverage."""

import numpy as np
import pytest

from repro.analysis import stats
from repro.data import metrics


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_mean_and_sample_sd():
    assert stats.mean_sd(np.array([60.0, 70.0, 80.0])) == (70.0, 10.0)


def test_sd_of_one_score_is_not_a_number():
    mean, sd = stats.mean_sd(np.array([61.5]))
    assert mean == 61.5
    assert np.isnan(sd)


@pytest.mark.parametrize("scores", [[], [50.0, float("nan")], [float("inf")], [[1.0]]])
def test_a_score_that_is_no_number_is_never_averaged(scores):
    with pytest.raises(ValueError, match="finite numbers"):
        stats.mean_sd(np.array(scores))


def test_interval_by_hand():
    assert stats.interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_interval_level(level):
    with pytest.raises(ValueError, match="level"):
        stats.interval(np.arange(3.0), level)


def test_perfect_predictions_have_no_spread():
    labels = np.array([0, 1, 1, 0])
    draws = stats.bootstrap_scores(metrics.accuracy, labels, np.stack([labels, labels]), rng(), 50)
    assert draws.shape == (50,)
    assert (draws == 100).all()


def test_seeds_are_resampled():
    """One seed always right, one always wrong: 0, 50 and 100 with chances 1/4, 1/2 and 1/4."""
    labels = np.array([0, 1, 1])
    draws = stats.bootstrap_scores(
        metrics.accuracy, labels, np.stack([labels, 1 - labels]), rng(), 4000
    )
    shares = [np.mean(draws == value) for value in (0, 50, 100)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_examples_are_resampled_with_the_binomial_spread():
    labels = np.zeros(400, int)
    predicted = (np.arange(400) < 80).astype(int)[None]  # 80 % right
    draws = stats.bootstrap_scores(metrics.accuracy, labels, predicted, rng(), 4000)
    assert draws.mean() == pytest.approx(80, abs=0.1)
    assert draws.std() == pytest.approx(2.0, abs=0.1)  # sqrt(0.8 * 0.2 / 400)


def test_examples_are_the_same_for_all_seeds_of_a_draw():
    """Two equal seeds are no more certain than one."""
    labels, one = np.zeros(100, int), (np.arange(100) < 30).astype(int)
    alone = stats.bootstrap_scores(metrics.accuracy, labels, one[None], rng())
    twice = stats.bootstrap_scores(metrics.accuracy, labels, np.stack([one, one]), rng())
    np.testing.assert_allclose(twice, alone)


def test_same_generator_same_interval_whatever_the_blocks(monkeypatch):
    labels, predicted = rng().integers(0, 2, 37), rng().integers(0, 2, (3, 37))
    whole = stats.bootstrap_scores(metrics.f1, labels, predicted, rng(), 100)
    monkeypatch.setattr(stats, "_BLOCK", 37 * 7)
    np.testing.assert_array_equal(
        whole, stats.bootstrap_scores(metrics.f1, labels, predicted, rng(), 100)
    )


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.f1])
def test_interval_contains_the_mean(metric):
    source = rng()
    labels = source.integers(0, 2, 120)
    predicted = np.where(source.random((4, 120)) < 0.8, labels, 1 - labels)
    low, high = stats.interval(stats.bootstrap_scores(metric, labels, predicted, source))
    assert low < metric(labels, predicted).mean() < high


def test_coverage_on_a_binomial():
    """The nominal 95 % interval holds the true 80 % in about that share of repetitions."""
    source, labels, hits = rng(), np.zeros(150, int), 0
    for _ in range(200):
        predicted = (source.random((1, 150)) >= 0.8).astype(int)
        low, high = stats.interval(
            stats.bootstrap_scores(metrics.accuracy, labels, predicted, source, 300)
        )
        hits += low <= 80 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_shares_follow_the_scores_resampling():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    draws = stats.bootstrap_shares(3, labels[None], rng(), 4000)
    assert draws.shape == (4000, 3)
    np.testing.assert_allclose(draws.sum(axis=1), 100)
    np.testing.assert_allclose(draws.mean(axis=0), [50, 30, 20], atol=0.3)
    np.testing.assert_allclose(draws.std(axis=0), [5.0, 21**0.5, 4.0], atol=0.2)


def test_shares_resample_seeds():
    draws = stats.bootstrap_shares(2, np.array([[0, 0], [1, 1]]), rng(), 4000)[:, 0]
    assert [np.mean(draws == value) for value in (0, 50, 100)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.03
    )


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [(np.zeros(3), np.zeros(3)), (np.zeros(3), np.zeros((2, 4))), (np.zeros(0), np.zeros((2, 0)))],
)
def test_shapes_are_checked(labels, predicted):
    with pytest.raises(ValueError, match="must be"):
        stats.bootstrap_scores(metrics.accuracy, labels, predicted, rng())


LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 1])


def wrong_on(*rows: int) -> np.ndarray:
    """Predictions (8,) that miss just these examples."""
    return np.where(np.isin(np.arange(8), rows), 1 - LABELS, LABELS)


def test_mcnemar_by_hand():
    """One is wrong where the other is right on 5 examples, never the reverse: 2 / 2 ** 5."""
    first, second = wrong_on(0, 1, 2, 3, 4, 7)[None], wrong_on(7)[None]
    assert stats.mcnemar_p(LABELS, first, second) == pytest.approx([2 / 2**5])


def test_mcnemar_of_each_seed():
    first, second = np.stack([wrong_on(0, 1), wrong_on(3)]), np.stack([wrong_on(), wrong_on(4)])
    assert stats.mcnemar_p(LABELS, first, second) == pytest.approx([2 / 2**2, 1.0])


def test_permutation_over_examples_agrees_with_mcnemar():
    """Of accuracy and one seed it is the same test: five discordant examples, all on one side."""
    first, second = wrong_on(0, 1, 2, 3, 4)[None], wrong_on()[None]
    null = stats.permuted_pairs(metrics.accuracy, LABELS, first, second, rng(), 20_000)
    assert set(np.round(np.abs(null) / 12.5, 6)) == {1, 3, 5}  # an odd number of eighths
    assert stats.p_value(62.5, null) == pytest.approx(2 / 2**5, abs=0.006)


def test_examples_change_sides_in_all_seeds_together():
    first, second = np.stack([wrong_on(0)] * 3), np.stack([wrong_on()] * 3)
    null = stats.permuted_pairs(metrics.accuracy, LABELS, first, second, rng(), 200)
    assert set(null) == {-12.5, 12.5}  # were the seeds apart, thirds would occur


def test_p_value_counts_the_observed_draw():
    assert stats.p_value(3.0, np.array([1.0, -3.0, 2.0])) == 0.5
    assert stats.p_value(9.0, np.zeros(99)) == 0.01


@pytest.mark.parametrize(
    ("gaps", "p"), [([1, 2, 3], 2 / 8), ([1, 2, -0.5], 4 / 8), ([[1, 2], [2, 1]], 2 / 16)]
)
def test_sign_flips_by_hand(gaps, p):
    assert stats.sign_flip_p(np.array(gaps, float)) == pytest.approx(p)


def test_one_seed_says_nothing_about_seeds():
    assert np.isnan(stats.sign_flip_p(np.array([4.0])))


def test_holm_by_hand():
    assert stats.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_improvement_counts_pairs_and_halves_of_ties():
    assert stats.improvement(np.array([60.0, 70.0]), np.array([70.0, 65.0])) == pytest.approx(
        (1 + 1 + 0.5 + 0) / 4
    )


def test_paired_differences_are_narrower_than_unpaired():
    """Errors on the same examples cancel: the second corrects 5 of the first's 100 in 400."""
    labels = np.zeros(400, int)
    first = (np.arange(400) < 100).astype(int)[None]
    second = (np.arange(400) < 95).astype(int)[None]
    gaps, improved = stats.bootstrap_pairs(metrics.accuracy, labels, first, second, rng(), 4000)
    assert gaps.mean() == pytest.approx(1.25, abs=0.03)
    assert gaps.std() == pytest.approx(100 * np.sqrt(0.0125 * 0.9875 / 400), rel=0.05)
    assert set(improved) <= {0.5, 1.0}


def test_seeds_are_resampled_in_pairs():
    """Seed 0 gains 100 points, seed 1 none: never a loss."""
    first, second = np.stack([1 - LABELS, LABELS]), np.stack([LABELS, LABELS])
    gaps, _ = stats.bootstrap_pairs(metrics.accuracy, LABELS, first, second, rng(), 500)
    assert set(gaps) == {0.0, 50.0, 100.0}


def test_detectable_is_2_8_standard_errors():
    draws = rng().normal(0.5, 2.0, 40_000)
    assert stats.detectable(draws) == pytest.approx((1.959964 + 0.841621) * 2.0, rel=0.02)


def test_a_detectable_difference_is_detected_four_times_in_five():
    """At the minimum detectable difference, the interval excludes 0 in about 80 % of samples."""
    error = 1.0
    smallest = stats.detectable(rng().normal(0, error, 40_000))
    seen = rng().normal(smallest, error, 20_000)
    assert np.mean(np.abs(seen) > 1.959964 * error) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("function", [stats.bootstrap_pairs, stats.permuted_pairs])
def test_pairs_need_the_same_seeds(function):
    with pytest.raises(ValueError, match="same seeds and examples"):
        function(metrics.accuracy, LABELS, LABELS[None], np.stack([LABELS] * 2), rng())


def test_the_same_generator_seed_gives_the_same_interval():
    first, second = wrong_on(0, 5)[None], wrong_on(1)[None]
    one, two = (
        stats.bootstrap_pairs(metrics.f1, LABELS, first, second, rng(), 200)[0] for _ in range(2)
    )
    assert stats.interval(one) == stats.interval(two)


# accuracy within a part of the examples


def part(before, after, member=None):
    """(seeds, n) booleans of lists of 0 and 1; by default every example is a member."""
    before, after = (np.atleast_2d(np.array(given, bool)) for given in (before, after))
    return (
        before,
        after,
        np.ones_like(before) if member is None else np.atleast_2d(np.array(member, bool)),
    )


def test_one_example_shows_nothing():
    assert stats.interval(stats.bootstrap_within(*part([0], [1]), rng())) == (-100, 100)


def test_three_examples_that_agree_leave_a_wide_interval():
    low, high = stats.interval(stats.bootstrap_within(*part([0, 1, 1], [0, 1, 1]), rng()))
    assert low < -30 and high > 30


def test_many_examples_give_the_plain_bootstrap_s_spread():
    before, after = np.zeros(4000, int), (np.arange(4000) < 800).astype(int)  # 20 % gain
    draws = stats.bootstrap_within(*part(before, after), rng(), 4000)
    assert draws.mean() == pytest.approx(20, abs=0.1)
    assert draws.std() == pytest.approx(100 * np.sqrt(0.2 * 0.8 / 4000), rel=0.06)


def test_only_members_count():
    member = [[1] * 500 + [0] * 500]
    draws = stats.bootstrap_within(*part([0] * 1000, [1] * 500 + [0] * 500, member), rng())
    assert stats.interval(draws)[0] > 98


def test_seeds_within_a_part_are_resampled():
    """One seed gains on every example, one on none: 0, 50 and 100 with chances 1/4, 1/2 and 1/4."""
    draws = stats.bootstrap_within(*part([[0] * 900] * 2, [[1] * 900, [0] * 900]), rng(), 4000)
    shares = [np.mean(np.abs(draws - value) < 3) for value in (0, 50, 100)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_a_draw_without_a_member_is_left_out():
    draws = stats.bootstrap_within(*part([[0], [0]], [[1], [1]], [[1], [0]]), rng())
    assert 0 < len(draws) < 1000 and np.isfinite(draws).all()


def test_a_part_without_examples_is_refused():
    with pytest.raises(ValueError, match="no example"):
        stats.bootstrap_within(*part([0, 1], [0, 1], [0, 0]), rng())


def test_the_interval_of_few_examples_covers_where_the_plain_one_does_not():
    """True gain 10 points (20 % won, 10 % lost), five examples."""
    random, covered, plain = rng(), 0, 0
    for _ in range(100):
        gain = random.choice([1, -1, 0], p=[0.2, 0.1, 0.7], size=5)
        low, high = stats.interval(
            stats.bootstrap_within(*part(gain == -1, gain == 1), random, 300)
        )
        covered += low <= 10 <= high
        low, high = stats.interval(100 * gain[random.integers(0, 5, (300, 5))].mean(axis=1))
        plain += low <= 10 <= high
    assert covered >= 95 > 85 > plain
