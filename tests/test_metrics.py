"""Scores against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from repro.errors import InputError
from repro.metrics import accuracy, f1, score

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(pairs)
def test_like_scikit_learn(rows):
    labels, predicted = np.array(rows).T
    assert accuracy(labels, predicted) == pytest.approx(100 * accuracy_score(labels, predicted))
    assert f1(labels, predicted) == pytest.approx(100 * f1_score(labels, predicted, zero_division=0))


def test_leading_axes_are_kept():
    predicted = np.array([[0, 1, 1], [1, 1, 1]])
    assert accuracy(np.array([0, 1, 0]), predicted) == pytest.approx([200 / 3, 100 / 3])
    assert f1(np.array([0, 1, 0]), predicted) == pytest.approx([200 / 3, 50.0])


def test_unknown_metric():
    with pytest.raises(InputError, match="'bleu'; use one of: accuracy, f1"):
        score("bleu", np.array([0]), np.array([0]))
