"""The paper's sums, computed again from its printed tables."""

import importlib.util

import pytest

from repro.config import printed
from repro.paths import ROOT

SPEC = importlib.util.spec_from_file_location("arithmetic", ROOT / "docs" / "arithmetic.py")
arithmetic = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(arithmetic)


@pytest.fixture(scope="module")
def sums():
    return arithmetic.sums().set_index("what")


def test_every_printed_average_is_computed_again(sums):
    averages = sums.filter(like="average of", axis=0)
    methods = [method for _, method in printed.numbers().index]
    assert averages.index.tolist() == [f"average of {method}" for method in methods]


def test_every_gain_that_the_text_quotes_is_computed_again(sums):
    quoted = sums[~sums.index.str.startswith("average of")]["printed"]
    gains = [4.4, 14.8, 4.7, 5.1, 3.3, 3.5, 5.6, 1.3, 1.1, 1.9, 0.5, 0.8, 1.5]
    assert sorted(quoted) == sorted([*gains, 42.6, 21.3])


def test_what_does_not_add_up_is_known(sums):
    wrong = sums[~sums["adds_up"]]
    assert dict(zip(wrong["printed"], wrong["exact"], strict=True)) == pytest.approx(
        {75.0: 74.925, 75.2: 75.25, 4.4: 4.325, 5.1: 5.0, 42.6: 42.527232, 1.5: 1.425}
    )


def test_a_gain_can_follow_from_the_rounded_averages_alone(sums):
    ptp = sums[(sums["printed"] == 1.5) & (sums["where"] == "Section 4.4")].iloc[0]
    assert (ptp["averages"], ptp["adds_up"]) == (pytest.approx(1.5), False)


@pytest.mark.parametrize(("value", "shown"), [(75.25, "75.3"), (84.45, "84.5"), (74.925, "74.9")])
def test_halves_are_rounded_up(value, shown):
    assert str(arithmetic._rounded(value)) == shown
