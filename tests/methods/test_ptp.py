"""PTP's targets under the readings of decisions D1 and D12."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.recipe import parse
from repro.config.tasks import TASKS
from repro.data import ptp_labels
from repro.errors import InputError
from repro.methods import ptp

MRPC = TASKS["MRPC"]  # thresholds 0.95 and 0.75
CONFIDENCES = np.array([0.96, 0.6, 0.9, 0.96, 0.8, 0.55])  # of class 0
LOGITS = np.stack([np.log(CONFIDENCES), np.log(1 - CONFIDENCES)], axis=1)
GOLD = np.array([0, 0, 0, 1, 1, 1])  # the teacher is right about the first three


def targets(variant, recipe="authors"):
    resolved = ptp.resolve(variant, MRPC, parse(recipe))
    return resolved.labels(LOGITS, GOLD, resolved.cuts(LOGITS, GOLD)).tolist()


@pytest.mark.parametrize(
    ("variant", "recipe", "expected"),
    [
        ("both", "authors", [0, 1, 1, 2, 2, 3]),
        ("both", "authors+ptp_thresholds=one", [0, 1, 1, 2, 3, 3]),
        ("both", "authors+ptp_thresholds=median", [0, 1, 1, 2, 3, 3]),
        ("correct", "authors", [0, 0, 0, 1, 1, 1]),
        ("confident", "authors", [0, 1, 1, 0, 1, 1]),  # t1 for all (decision D12)
        ("confident", "authors+ptp2_threshold=t2_when_wrong", [0, 1, 1, 0, 0, 1]),
        ("confident", "authors+ptp_thresholds=median", [0, 1, 1, 0, 1, 1]),
    ],
)
def test_targets_by_hand(variant, recipe, expected):
    assert targets(variant, recipe) == expected


def test_medians_are_the_teachers():
    resolved = ptp.resolve("both", MRPC, parse("authors+ptp_thresholds=median"))
    assert resolved.cuts(LOGITS, GOLD) == pytest.approx((0.9, 0.8))
    one = ptp.resolve("confident", MRPC, parse("authors+ptp_thresholds=median"))
    assert one.cuts(LOGITS, GOLD) == pytest.approx((0.9, 0.9))


def test_classes():
    classes = {v: ptp.resolve(v, MRPC, parse("authors")).classes for v in ptp.VARIANTS}
    assert classes == {"both": 4, "correct": 2, "confident": 2}


@given(st.integers(0, 2**31))
def test_ptp_1_and_ptp_2_together_are_ptp(seed):
    rng = np.random.default_rng(seed)
    logits, gold = rng.normal(scale=3, size=(40, 2)), rng.integers(0, 2, 40)
    recipe = parse("authors+ptp2_threshold=t2_when_wrong")
    correct, confident, both = (
        resolved.labels(logits, gold, resolved.cuts(logits, gold))
        for resolved in (ptp.resolve(v, MRPC, recipe) for v in ("correct", "confident", "both"))
    )
    assert (2 * correct + confident == both).all()
    assert (both == ptp_labels.labels(logits, gold, MRPC.thresholds)).all()


def test_unknown_variant():
    with pytest.raises(InputError, match="'three'; use one of: both, correct, confident"):
        ptp.resolve("three", MRPC, parse("authors"))
