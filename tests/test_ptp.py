"""PTP labels on logits made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro import ptp
from repro.errors import InputError
from repro.tasks import TASKS


def logits(*confidences: float) -> np.ndarray:
    """Two-class logits whose first class has these probabilities."""
    p = np.array(confidences)
    return np.stack([np.log(p), np.log(1 - p)], axis=1)


# right and sure, right and not, right exactly at the cut, wrong and sure, wrong and not
MADE, GOLD = logits(0.9, 0.6, 0.8, 0.7, 0.55), np.array([0, 0, 0, 1, 1])


def test_four_labels_by_hand():
    assert ptp.confidence(MADE) == pytest.approx([0.9, 0.6, 0.8, 0.7, 0.55])
    assert ptp.labels(MADE, GOLD, (0.8 + 1e-12, 0.6)).tolist() == [0, 1, 1, 2, 3]


def test_confident_means_strictly_above():
    exact = np.array([[0.0, 0.0, -np.inf]])  # confidence 1/2 exactly, in three classes
    assert ptp.labels(np.array([[np.log(3), 0.0]]), np.array([0]), (0.7500001, 0.6)).tolist() == [1]
    assert ptp.confidence(exact).tolist() == [0.5]


def test_variants():
    cuts = (0.75, 0.6)
    assert ptp.variant_labels("both", MADE, GOLD, cuts).tolist() == [0, 1, 0, 2, 3]
    assert ptp.variant_labels("correct", MADE, GOLD, cuts).tolist() == [0, 0, 0, 1, 1]
    assert ptp.variant_labels("confident", MADE, GOLD, cuts).tolist() == [0, 1, 0, 1, 1]  # t1 for all (D12)
    assert ptp.variant_labels("confident", MADE, GOLD, cuts, "t2_when_wrong").tolist() == [0, 1, 0, 0, 1]


def test_thresholds_of_decision_d1():
    task = TASKS["MRPC"]
    assert ptp.thresholds("two", task, MADE, GOLD) == (0.95, 0.75)
    assert ptp.thresholds("one", task, MADE, GOLD) == (0.95, 0.95)
    assert ptp.thresholds("median", task, MADE, GOLD) == pytest.approx((0.8, 0.625))


@pytest.mark.parametrize("cut", [0.5, 1.0, 0.2, 7.0, float("nan")])
def test_a_threshold_outside_the_open_interval_is_refused(cut):
    with pytest.raises(InputError, match=r"must lie in \(0.5, 1\), got"):
        ptp.labels(MADE, GOLD, (0.8, cut))


def test_unknown_variant():
    with pytest.raises(InputError, match="'three'; use one of: both, correct, confident"):
        ptp.variant_labels("three", MADE, GOLD, (0.8, 0.6))


@given(st.integers(0, 2**31), st.floats(0.51, 0.99), st.floats(0.51, 0.99))
def test_labels_split_by_right_and_by_sure(seed, t1, t2):
    rng = np.random.default_rng(seed)
    made, gold = rng.normal(scale=3, size=(40, 2)), rng.integers(0, 2, 40)
    four = ptp.labels(made, gold, (t1, t2))
    assert ((four < 2) == (made.argmax(1) == gold)).all()
    probability = np.exp(made).max(1) / np.exp(made).sum(1)
    assert ((four % 2 == 0) == (probability > np.where(four < 2, t1, t2))).all()
    shifted = ptp.labels(made + rng.normal(size=(40, 1)), gold, (t1, t2))
    assert (shifted == four).mean() > 0.97  # softmax does not see a shift, but for ties at the cut
