"""PTP labels of hand-made and random logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.tasks import TASKS
from repro.data import ptp_labels
from repro.errors import InputError


def logits(*confidences: float) -> np.ndarray:
    """Two-class logits whose first class has these probabilities."""
    p = np.array(confidences)
    return np.stack([np.log(p), np.log(1 - p)], axis=1)


# right and sure, right and not, right exactly at the cut, wrong and sure, wrong and not
MADE, GOLD = logits(0.9, 0.6, 0.8, 0.7, 0.55), np.array([0, 0, 0, 1, 1])


def test_four_labels_by_hand():
    assert ptp_labels.confidence(MADE) == pytest.approx([0.9, 0.6, 0.8, 0.7, 0.55])
    assert ptp_labels.labels(MADE, GOLD, (0.8 + 1e-12, 0.6)).tolist() == [0, 1, 1, 2, 3]


def test_confident_means_strictly_above():
    at_threshold = float(ptp_labels.confidence(MADE[:1])[0])
    assert ptp_labels.labels(MADE[:1], GOLD[:1], (at_threshold, 0.6)).tolist() == [1]
    exact = np.array([[0.0, 0.0, -np.inf]])  # confidence 1/2 exactly, in three classes
    assert ptp_labels.labels(
        np.array([[np.log(3), 0.0]]), np.array([0]), (0.7500001, 0.6)
    ).tolist() == [1]
    assert ptp_labels.confidence(exact).tolist() == [0.5]


def test_thresholds_of_decision_d1():
    task = TASKS["MRPC"]
    assert ptp_labels.thresholds("two", task, MADE, GOLD) == (0.95, 0.75)
    assert ptp_labels.thresholds("one", task, MADE, GOLD) == (0.95, 0.95)
    assert ptp_labels.thresholds("median", task, MADE, GOLD) == pytest.approx((0.8, 0.625))


@pytest.mark.parametrize("cut", [0.5, 1.0, 0.2, 7.0, float("nan")])
def test_a_threshold_outside_the_open_interval_is_refused(cut):
    with pytest.raises(InputError, match=r"must lie in \(0.5, 1\), got"):
        ptp_labels.labels(MADE, GOLD, (0.8, cut))


def test_with_three_classes_a_threshold_may_be_below_one_half():
    made = np.log([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.3, 0.5, 0.2], [0.3, 0.4, 0.3]])
    gold = np.zeros(4, int)
    cuts = ptp_labels.medians(made, gold)
    assert cuts == pytest.approx((0.45, 0.45))
    assert ptp_labels.labels(made, gold, cuts).tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"must lie in \(0.333, 1\), got 0.3;"):
        ptp_labels.labels(made, gold, (0.3, 0.6))


seeds, cuts = st.integers(0, 2**31), st.floats(0.51, 0.99)


def teacher(seed, rows=40, classes=2):
    """Random logits (rows, classes) of all degrees of confidence, and gold labels (rows,)."""
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(rows, classes)), rng.integers(0, classes, rows)


@given(seeds, cuts, cuts)
def test_labels_follow_correctness_and_confidence(seed, t1, t2):
    made, gold = teacher(seed)
    four = ptp_labels.labels(made, gold, (t1, t2))
    assert ((four < 2) == (made.argmax(1) == gold)).all()
    probability, cut = np.exp(made).max(1) / np.exp(made).sum(1), np.where(four < 2, t1, t2)
    assert ((four % 2 == 0) == (probability > cut)).all()
    shifted = ptp_labels.labels(
        made + np.random.default_rng(seed).normal(size=(40, 1)), gold, (t1, t2)
    )
    away = np.abs(probability - cut) > 1e-12  # at the cut itself, rounding decides
    assert (shifted == four)[away].all()


@given(seeds, cuts, cuts, st.integers(2, 4))
def test_the_four_labels_are_a_partition(seed, t1, t2, classes):
    made, gold = teacher(seed, classes=classes)
    four = ptp_labels.labels(made, gold, (t1, t2))
    counts = np.bincount(four, minlength=4)
    assert len(counts) == 4 and counts.sum() == len(gold)
    assert counts[:2].sum() == (made.argmax(1) == gold).sum()


@given(seeds, cuts, cuts)
def test_a_label_does_not_depend_on_other_examples(seed, t1, t2):
    made, gold = teacher(seed)
    four = ptp_labels.labels(made, gold, (t1, t2))
    order = np.random.default_rng(seed).permutation(len(gold))
    assert (ptp_labels.labels(made[order], gold[order], (t1, t2)) == four[order]).all()
    alone = [
        ptp_labels.labels(made[k : k + 1], gold[k : k + 1], (t1, t2)).item()
        for k in range(len(gold))
    ]
    assert alone == four.tolist()


@given(seeds, cuts, cuts, cuts)
def test_a_higher_threshold_only_reduces_confidence(seed, low, high, other):
    made, gold = teacher(seed)
    low, high = sorted((low, high))
    for column, wrong in ((0, False), (1, True)):
        before, after = (
            ptp_labels.labels(made, gold, (cut, other) if column == 0 else (other, cut))
            for cut in (low, high)
        )
        # confident to unconfident, never back, and never between correct and wrong
        assert set(after - before) <= {0, 1}
        # t1 affects correct predictions only, t2 wrong ones only
        assert not (after != before)[(made.argmax(1) != gold) != wrong].any()


@given(seeds, cuts, cuts, st.floats(1, 5))
def test_sharper_logits_only_increase_confidence(seed, t1, t2, sharper):
    made, gold = teacher(seed)
    before, after = (
        ptp_labels.labels(made, gold, (t1, t2)),
        ptp_labels.labels(sharper * made, gold, (t1, t2)),
    )
    probability = ptp_labels.confidence(made)
    away = np.abs(probability - np.where(before < 2, t1, t2)) > 1e-12
    assert set((before - after)[away]) <= {0, 1}
    assert (before // 2 == after // 2).all()


@given(seeds)
def test_the_median_threshold_halves_each_group(seed):
    made, gold = teacher(seed)
    cut = ptp_labels.thresholds("median", TASKS["RTE"], made, gold)
    counts = np.bincount(ptp_labels.labels(made, gold, cut), minlength=4)
    for sure, unsure in (counts[:2], counts[2:]):
        assert sure == (sure + unsure) // 2  # strictly above the median: without the middle one


def test_the_median_of_an_empty_group_is_the_middle_of_the_range():
    made = logits(0.9, 0.7)
    assert ptp_labels.medians(made, np.array([0, 0])) == pytest.approx((0.8, 0.75))
    assert ptp_labels.medians(made, np.array([1, 1])) == pytest.approx((0.75, 0.8))
