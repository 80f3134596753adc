"""Scores against scikit-learn, and their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from repro.data.metrics import accuracy, f1, score
from repro.errors import InputError

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(pairs)
def test_like_scikit_learn(rows):
    labels, predicted = np.array(rows).T
    assert accuracy(labels, predicted) == pytest.approx(100 * accuracy_score(labels, predicted))
    assert f1(labels, predicted) == pytest.approx(
        100 * f1_score(labels, predicted, zero_division=0)
    )


def test_leading_axes_are_kept():
    predicted = np.array([[0, 1, 1], [1, 1, 1]])
    assert accuracy(np.array([0, 1, 0]), predicted) == pytest.approx([200 / 3, 100 / 3])
    assert f1(np.array([0, 1, 0]), predicted) == pytest.approx([200 / 3, 50.0])


def test_unknown_metric():
    with pytest.raises(InputError, match="'bleu'; use one of: accuracy, f1"):
        score("bleu", np.array([0]), np.array([0]))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_accuracy_of_many_classes_like_scikit_learn(rows):
    labels, predicted = np.array(rows).T
    assert accuracy(labels, predicted) == pytest.approx(
        100 * accuracy_score(labels, predicted), abs=1e-12
    )


@given(pairs)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(rows):
    labels, predicted = np.array(rows).T
    precision, recall = (
        of(labels, predicted, zero_division=0) for of in (precision_score, recall_score)
    )
    expected = 0.0 if precision + recall == 0 else 200 * precision * recall / (precision + recall)
    assert f1(labels, predicted) == pytest.approx(expected, abs=1e-12)
    assert f1(predicted, labels) == f1(labels, predicted)


@given(pairs, st.randoms(use_true_random=False), st.sampled_from(["accuracy", "f1"]))
def test_a_score_does_not_depend_on_order_and_is_a_percentage(rows, random, metric):
    labels, predicted = np.array(rows).T
    value = score(metric, labels, predicted)
    order = random.sample(range(len(rows)), len(rows))
    assert score(metric, labels[order], predicted[order]) == value
    assert 0 <= value <= 100
    assert score("accuracy", labels, labels) == 100
    assert score("f1", labels, labels) == (100 if labels.any() else 0)


@given(
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.integers(1, 30),
    st.sampled_from(["accuracy", "f1"]),
)
def test_many_predictions_are_scored_like_one_by_one(seed, count, rows, metric):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 2, rows), rng.integers(0, 2, (count, rows))
    assert score(metric, labels, predicted).tolist() == [
        float(score(metric, labels, one)) for one in predicted
    ]
