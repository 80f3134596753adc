"""The scores in the report of a distilled student."""

import numpy as np
import pytest

from repro.report import student_report


def test_scores_of_a_student_that_always_says_the_most_frequent_class():
    labels = np.array([0] * 6 + [1] * 4)
    scores = student_report.scores(labels, labels, np.zeros(10, int))
    models = ("teacher", "student", "difference")
    accuracies = [scores[model]["accuracy"]["score"] for model in models]
    macro_f1s = [scores[model]["macro_f1"]["score"] for model in models]
    assert accuracies == pytest.approx([100, 60, -40])
    assert macro_f1s == pytest.approx([100, 37.5, -62.5])  # F1 of the classes: 3/4 and 0
    assert scores["most_frequent"] == 60
