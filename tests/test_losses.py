"""Losses against values worked out by hand, and against the formula for any input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import InputError
from repro.losses import balanced_weights, cross_entropy, patience, soft_cross_entropy

# softmax of (0, ln 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2)
TEACHER = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
STUDENT = torch.zeros(1, 2, dtype=torch.float64)
KL = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)


def test_kl_by_hand():
    assert soft_cross_entropy(STUDENT, TEACHER, 1.0).item() == pytest.approx(KL, abs=1e-15)
    assert soft_cross_entropy(STUDENT, TEACHER, 1.0, "mean").item() == pytest.approx(KL / 2, abs=1e-15)


def test_temperature_readings_by_hand():
    # at T = 2 the logits (0, 2 ln 3) give (1/4, 3/4) again
    assert soft_cross_entropy(STUDENT, 2 * TEACHER, 2.0).item() == pytest.approx(4 * KL, abs=1e-15)
    assert soft_cross_entropy(TEACHER, 2 * TEACHER, 2.0, reading="paper").item() == pytest.approx(0.0, abs=1e-15)
    assert soft_cross_entropy(STUDENT, 2 * TEACHER, 2.0, reading="paper").item() == pytest.approx(KL, abs=1e-15)


def test_patience_by_hand():
    student = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])  # (1, 2 pairs, 2)
    teacher = torch.tensor([[[4.0, 3.0], [0.0, 2.0]]])
    assert patience(student, teacher).item() == pytest.approx((2 * 0.2**2 + 1 + 1) / 4)
    assert patience(student, teacher, "mean").item() == pytest.approx((1 + 1 + 1 + 4) / 4)
    assert patience(student, teacher, "sum").item() == pytest.approx(7.0)
    assert patience(torch.cat([student, student]), torch.cat([teacher, teacher]), "sum").item() == pytest.approx(7.0)


def test_patience_without_pairs_is_zero():
    assert patience(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4)).item() == 0.0


def test_cross_entropy_by_hand():
    assert cross_entropy(TEACHER, torch.tensor([0])).item() == pytest.approx(math.log(4))
    assert cross_entropy(TEACHER, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))


def test_balanced_weights_have_mean_one_over_the_examples():
    labels = torch.tensor([0, 0, 0, 1])
    weights = balanced_weights(labels, 4)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0, 0.0, 0.0])
    assert weights[labels].mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_cross_entropy(torch.zeros(2, 2), torch.zeros(2, 3), 1.0), "(2, 2) for the student and (2, 3)"),
        (lambda: soft_cross_entropy(STUDENT, TEACHER, 0.0), "above 0, got 0.0"),
        (lambda: soft_cross_entropy(STUDENT, TEACHER, 1.0, "sum"), "'sum'; use one of: mean, batchmean"),
        (lambda: patience(torch.zeros(1, 1, 2), torch.zeros(1, 2, 2)), "(1, 1, 2) for the student"),
        (lambda: patience(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), "cosine"), "'cosine'; use one of: normalized"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


logits = st.lists(st.tuples(*[st.floats(-20, 20)] * 3), min_size=1, max_size=5)


@given(logits, st.integers(0, 2**31), st.floats(0.5, 20))
def test_kl_follows_its_formula(rows, seed, temperature):
    teacher = torch.tensor(rows, dtype=torch.float64)
    student = teacher + torch.from_numpy(np.random.default_rng(seed).normal(size=teacher.shape))
    p, q = (torch.softmax(z / temperature, -1) for z in (teacher, student))
    expected = (p * (p / q).log()).sum(-1).mean().item() * temperature**2
    assert soft_cross_entropy(student, teacher, temperature).item() == pytest.approx(expected, abs=1e-9)
    assert soft_cross_entropy(teacher, teacher, temperature).item() == pytest.approx(0.0, abs=1e-12)
    assert soft_cross_entropy(student, teacher, temperature, "mean").item() * 3 == pytest.approx(expected, abs=1e-9)


@given(st.floats(0.1, 10), st.integers(0, 2**31))
def test_normalised_patience_ignores_scale_and_is_bounded(scale, seed):
    a, b = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, 2, 8)))
    value = patience(a, b).item()
    assert 0 <= value <= 4 / 8  # two unit vectors are at most 2 apart: 4 over 8 dimensions
    assert patience(scale * a, b).item() == pytest.approx(value, abs=1e-12)
