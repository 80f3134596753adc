"""Means and bootstrap intervals: tiny cases by hand, and the properties that make an interval one."""

import numpy as np
import pytest

from repro import metrics, stats


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
    draws = stats.bootstrap_scores(metrics.accuracy, labels, np.stack([labels, 1 - labels]), rng(), 4000)
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
    np.testing.assert_array_equal(whole, stats.bootstrap_scores(metrics.f1, labels, predicted, rng(), 100))


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
        low, high = stats.interval(stats.bootstrap_scores(metrics.accuracy, labels, predicted, source, 300))
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
    assert [np.mean(draws == value) for value in (0, 50, 100)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [(np.zeros(3), np.zeros(3)), (np.zeros(3), np.zeros((2, 4))), (np.zeros(0), np.zeros((2, 0)))],
)
def test_shapes_are_checked(labels, predicted):
    with pytest.raises(ValueError, match="must be"):
        stats.bootstrap_scores(metrics.accuracy, labels, predicted, rng())
