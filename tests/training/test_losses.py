"""Losses against values computed by hand, and against their formulas for any input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import InputError
from repro.training.losses import balanced_weights, cross_entropy, patience, soft_cross_entropy

# softmax of (0, ln 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2)
TEACHER = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
STUDENT = torch.zeros(1, 2, dtype=torch.float64)
KL = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)


def test_kl_by_hand():
    assert soft_cross_entropy(STUDENT, TEACHER, 1.0).item() == pytest.approx(KL, abs=1e-15)
    assert soft_cross_entropy(STUDENT, TEACHER, 1.0, "mean").item() == pytest.approx(
        KL / 2, abs=1e-15
    )


def test_temperature_readings_by_hand():
    # at T = 2 the logits (0, 2 ln 3) give (1/4, 3/4) again
    assert soft_cross_entropy(STUDENT, 2 * TEACHER, 2.0).item() == pytest.approx(4 * KL, abs=1e-15)
    assert soft_cross_entropy(TEACHER, 2 * TEACHER, 2.0, reading="paper").item() == pytest.approx(
        0.0, abs=1e-15
    )
    assert soft_cross_entropy(STUDENT, 2 * TEACHER, 2.0, reading="paper").item() == pytest.approx(
        KL, abs=1e-15
    )


def test_patience_by_hand():
    student = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])  # (1, 2 pairs, 2)
    teacher = torch.tensor([[[4.0, 3.0], [0.0, 2.0]]])
    assert patience(student, teacher).item() == pytest.approx((2 * 0.2**2 + 1 + 1) / 4)
    assert patience(student, teacher, "mean").item() == pytest.approx((1 + 1 + 1 + 4) / 4)
    assert patience(student, teacher, "sum").item() == pytest.approx(7.0)
    assert patience(
        torch.cat([student, student]), torch.cat([teacher, teacher]), "sum"
    ).item() == pytest.approx(7.0)


def test_patience_without_pairs_is_zero():
    assert patience(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4)).item() == 0.0


def test_cross_entropy_by_hand():
    assert cross_entropy(TEACHER, torch.tensor([0])).item() == pytest.approx(math.log(4))
    assert cross_entropy(TEACHER, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))


def test_weighted_cross_entropy_by_hand():
    """Each example counts by the weight of its label."""
    logits, labels = TEACHER.repeat(3, 1), torch.tensor([0, 1, 1])
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    expected = (3 * math.log(4) + 2 * math.log(4 / 3)) / 5
    assert cross_entropy(logits, labels, weights).item() == pytest.approx(expected)


def test_balanced_weights_have_mean_one_over_the_examples():
    labels = torch.tensor([0, 0, 0, 1])
    weights = balanced_weights(labels, 4)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0, 0.0, 0.0])
    assert weights[labels].mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: soft_cross_entropy(torch.zeros(2, 2), torch.zeros(2, 3), 1.0),
            "(2, 2) for the student and (2, 3)",
        ),
        (lambda: soft_cross_entropy(STUDENT, TEACHER, 0.0), "above 0, got 0.0"),
        (
            lambda: soft_cross_entropy(STUDENT, TEACHER, 1.0, "sum"),
            "'sum'; use one of: mean, batchmean",
        ),
        (lambda: patience(torch.zeros(1, 1, 2), torch.zeros(1, 2, 2)), "(1, 1, 2) for the student"),
        (
            lambda: patience(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), "cosine"),
            "'cosine'; use one of: normalized",
        ),
    ],
)
def test_bad_input_is_reported_in_one_line(call, message):
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
    assert soft_cross_entropy(student, teacher, temperature).item() == pytest.approx(
        expected, abs=1e-9
    )
    assert soft_cross_entropy(teacher, teacher, temperature).item() == pytest.approx(0.0, abs=1e-12)
    assert soft_cross_entropy(student, teacher, temperature, "mean").item() * 3 == pytest.approx(
        expected, abs=1e-9
    )


@given(st.floats(0.1, 10), st.integers(0, 2**31))
def test_normalised_patience_ignores_scale_and_is_bounded(scale, seed):
    a, b = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, 2, 8)))
    value = patience(a, b).item()
    assert 0 <= value <= 4 / 8  # two unit vectors are at most 2 apart: 4 over 8 dimensions
    assert patience(scale * a, b).item() == pytest.approx(value, abs=1e-12)


def pair(seed, shape):
    """Two random tensors in float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=2.0, size=(2, *shape)))


seeds, temperatures = st.integers(0, 2**31), st.floats(0.5, 20)
shapes = st.tuples(st.integers(1, 5), st.integers(2, 4))


@given(seeds, shapes, temperatures)
def test_kl_satisfies_pinskers_inequality(seed, shape, temperature):
    """KL >= ||p - q||_1^2 / 2: never negative, and zero for equal distributions only."""
    teacher, student = pair(seed, shape)
    p, q = (torch.softmax(z / temperature, -1) for z in (teacher, student))
    least = ((p - q).abs().sum(-1) ** 2 / 2).mean().item() * temperature**2
    assert least > 0
    assert soft_cross_entropy(student, teacher, temperature).item() >= least * (1 - 1e-9)


@given(
    seeds,
    shapes,
    temperatures,
    st.sampled_from(["mean", "batchmean"]),
    st.sampled_from(["both_squared", "paper"]),
)
def test_kl_does_not_depend_on_a_shift_or_on_the_order_of_classes(
    seed, shape, temperature, reduction, reading
):
    teacher, student = pair(seed, shape)
    shifts = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, shape[0], 1)))
    options = (temperature, reduction, reading)
    value = soft_cross_entropy(student, teacher, *options).item()
    shifted = soft_cross_entropy(student + shifts[0], teacher + shifts[1], *options).item()
    turned = soft_cross_entropy(student.flip(1), teacher.flip(1), *options).item()
    assert shifted == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert turned == pytest.approx(value, rel=1e-9, abs=1e-12)
    own = teacher if reading == "both_squared" else teacher / temperature
    assert soft_cross_entropy(own + shifts[0], teacher, *options).item() == pytest.approx(
        0.0, abs=1e-12
    )


@given(seeds, shapes, temperatures)
def test_the_readings_of_kl_are_multiples_of_each_other(seed, shape, temperature):
    teacher, student = pair(seed, shape)
    value = soft_cross_entropy(student, teacher, temperature).item()
    mean = soft_cross_entropy(student, teacher, temperature, "mean").item()
    assert mean * shape[1] == pytest.approx(value, rel=1e-12)
    letter = soft_cross_entropy(student / temperature, teacher, temperature, reading="paper").item()
    assert letter * temperature**2 == pytest.approx(value, rel=1e-9, abs=1e-12)
    scaled = soft_cross_entropy(student * temperature, teacher * temperature, temperature).item()
    assert scaled == pytest.approx(
        soft_cross_entropy(student, teacher, 1.0).item() * temperature**2, rel=1e-9
    )


@given(seeds, shapes, temperatures)
def test_the_gradient_of_kl_is_the_difference_of_the_distributions(seed, shape, temperature):
    """d/dz_s of KL * T^2 is T (q - p) per example (Hinton et al. 2015)."""
    teacher, student = pair(seed, shape)
    student.requires_grad_()
    soft_cross_entropy(student, teacher, temperature).backward()
    p, q = (
        torch.softmax(teacher / temperature, -1),
        torch.softmax(student.detach() / temperature, -1),
    )
    torch.testing.assert_close(
        student.grad, temperature * (q - p) / shape[0], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
@pytest.mark.parametrize("reading", ["both_squared", "paper"])
def test_kl_has_the_gradient_of_its_finite_differences(reduction, reading):
    teacher, student = pair(1, (3, 3))
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: soft_cross_entropy(z, teacher, 2.5, reduction, reading), (student,)
    )


@pytest.mark.parametrize("match", ["normalized_mean", "mean", "sum"])
def test_patience_has_the_gradient_of_its_finite_differences(match):
    teacher, student = pair(2, (3, 2, 4))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda states: patience(states, teacher, match), (student,))


def test_weighted_cross_entropy_has_the_gradient_of_its_finite_differences():
    labels, (logits, _) = torch.tensor([0, 2, 2, 1]), pair(3, (4, 3))
    logits.requires_grad_()
    weights = balanced_weights(labels, 3).double()
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, labels, weights), (logits,))


@given(
    seeds, st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 8)), st.floats(0.01, 100)
)
def test_patience_by_its_geometry(seed, shape, scale):
    student, teacher = pair(seed, shape)
    cosine = torch.nn.functional.cosine_similarity(student, teacher, dim=-1).mean().item()
    value = patience(student, teacher).item()
    assert value == pytest.approx(
        (2 - 2 * cosine) / shape[2], abs=1e-12
    )  # ||a - b||^2 of unit vectors
    assert 0 <= value <= 4 / shape[2] + 1e-12
    assert patience(scale * student, teacher / scale).item() == pytest.approx(value, abs=1e-12)
    assert patience(-teacher, teacher).item() == pytest.approx(4 / shape[2], abs=1e-12)
    assert patience(scale * teacher, teacher).item() == pytest.approx(0.0, abs=1e-12)


@given(
    seeds, st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 8)), st.floats(0.01, 100)
)
def test_unnormalised_patience_grows_with_the_square(seed, shape, scale):
    student, teacher = pair(seed, shape)
    mean, total = (
        patience(student, teacher, "mean").item(),
        patience(student, teacher, "sum").item(),
    )
    assert total == pytest.approx(mean * shape[1] * shape[2], rel=1e-9)
    assert patience(scale * student, scale * teacher, "mean").item() == pytest.approx(
        scale**2 * mean, rel=1e-9
    )
    assert patience(teacher, student, "sum").item() == pytest.approx(total, rel=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_balanced_weights_give_every_label_the_same_total_weight(rows):
    labels = torch.tensor(rows)
    shares = torch.bincount(
        labels, weights=balanced_weights(labels, 4)[labels].double(), minlength=4
    )
    present = sorted(set(rows))
    assert shares[present].tolist() == pytest.approx(
        [len(rows) / len(present)] * len(present), rel=1e-6
    )
    assert shares.sum().item() == pytest.approx(len(rows), rel=1e-6)
