"""Verdicts by rule: estimates against known intervals, and the rule's order."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swaplib.workbook import verdicts
from swaplib.workbook.verdicts import ORDER, Estimate, above, below, between, decide, judge

# ---------------------------------------------------------------------------------------------- estimates


def test_a_mean_has_students_interval():
    found = verdicts.estimate([1.0, 2.0, 3.0, 4.0, math.nan])
    half = 3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (found.value, found.n) == (2.5, 4)
    assert found.low == pytest.approx(2.5 - half)
    assert found.high == pytest.approx(2.5 + half)
    assert str(found) == "2.5 [0.446, 4.55]"


@pytest.mark.parametrize("values", [0.3, [0.3], torch.tensor([0.3, math.nan])])
def test_a_single_number_has_no_interval(values):
    found = verdicts.estimate(values)
    assert (found.value, found.n) == (pytest.approx(0.3), 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert str(found) == "0.3"


def test_nothing_is_estimated_from_nothing():
    for found in (verdicts.estimate([math.nan]), verdicts.share([]), verdicts.ratio([math.nan], [1])):
        assert found.n == 0
        assert math.isnan(found.value)


def test_a_share_has_wilsons_interval():
    found = verdicts.share([True] * 24)
    assert (found.value, found.high, found.n) == (1, 1, 24)
    assert found.low == pytest.approx(24 / (24 + 1.959964**2))
    assert verdicts.share(torch.tensor([1.0, 0.0])).value == 0.5
    with pytest.raises(ValueError, match="yes and no"):
        verdicts.share([0.5])


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 1, (400, 2, 40)) + np.array([1, 0])[:, None]  # means of 2 and 1
    found = [verdicts.estimate(one[0]) for one in samples]
    assert 0.92 < np.mean([one.low < 2 < one.high for one in found]) < 0.98
    found = [verdicts.ratio(*one) for one in samples[:60]]
    assert np.mean([one.low < 2 < one.high for one in found]) > 0.85


def test_a_ratio_of_equal_things_is_certain():
    found = verdicts.ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.5, 0.5, 3)
    assert verdicts.ratio([1.0, 2.0, math.nan], [2.0, 4.0, 1.0]).n == 2


def test_rank_correlation_is_spearmans_with_ties():
    one, other = 4 * [1, 2, 2, 3, 9, 8], 4 * [2, 3, 1, 3, 7, 7]
    found = verdicts.rank_correlation(one, other)
    assert found.value == pytest.approx(pd.Series(one).corr(pd.Series(other), method="spearman"))
    assert found.low < found.value <= found.high
    assert math.isnan(verdicts.rank_correlation([1, 1, 1], [1, 2, 3]).value)


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(1).normal(size=(2, 30))
    assert verdicts.ratio(*values) == verdicts.ratio(*values)


def test_a_difference_of_rows_is_welchs():
    one, other = np.random.default_rng(0).normal(size=(2, 30)) * [[1], [3]] + [[0], [1]]
    rows = {"a": one, "b": other}
    table = pd.DataFrame({"error": {name: values.mean() for name, values in rows.items()}})
    table["error_std"] = {name: values.std(ddof=1) for name, values in rows.items()}
    table["pairs"] = 30
    found = verdicts.difference(table, "a", "b", "error")
    exact = stats.ttest_ind(one, other, equal_var=False)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == pytest.approx(tuple(exact.confidence_interval()))
    assert found.n == 30


# ---------------------------------------------------------------------------------------------- the rule

numbers = st.floats(-10, 10)
estimates = st.lists(numbers, min_size=3, max_size=3).map(sorted).map(lambda v: Estimate(v[1], v[0], v[2], 9))
bounds = st.one_of(
    numbers.map(above), numbers.map(below), st.tuples(numbers, numbers).map(lambda v: between(*sorted(v)))
)


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.1, 0.2, 0.3, "holds"),
        (-0.1, 0.2, 0.3, "holds weakly"),
        (0.0, 0.2, 0.3, "holds weakly"),
        (-0.3, -0.1, 0.3, "not testable here"),
        (-0.3, 0.0, 0.3, "not testable here"),
        (-0.3, -0.2, -0.1, "does not hold here"),
        (-0.3, -0.2, 0.0, "does not hold here"),
        (0.0, 0.0, 0.0, "does not hold here"),
        (math.nan, 0.2, math.nan, "not testable here"),
        (math.nan, math.nan, math.nan, "not testable here"),
    ],
)
def test_one_statistic_is_decided_by_its_interval(low, value, high, verdict):
    assert decide(Estimate(value, low, high, 9), above(0)) == verdict
    assert decide(Estimate(-value, -high, -low, 9), below(0)) == verdict


def test_a_statistic_may_be_bounded_on_both_sides():
    near_one = between(0.75, 1.25)
    assert decide(Estimate(1, 0.8, 1.2, 9), near_one) == "holds"
    assert decide(Estimate(1, 0.5, 1.5, 9), near_one) == "holds weakly"
    assert decide(Estimate(0.5, 0.4, 0.6, 9), near_one) == "does not hold here"
    assert decide(Estimate(1.4, 1.2, 1.6, 9), near_one) == "not testable here"


@given(estimates, bounds)
def test_an_interval_that_holds_both_answers_refutes_and_proves_nothing(found, bound):
    verdict = decide(found, bound)
    inside, outside = bound.low < found.low <= found.high < bound.high, None
    outside = found.high <= bound.low or found.low >= bound.high
    assert (verdict == "holds") == inside
    assert (verdict == "does not hold here") == (outside and not inside)


@given(estimates, numbers, numbers)
def test_a_harder_bound_is_never_kept_better(found, one, other):
    easy, hard = sorted((one, other))
    assert ORDER.index(decide(found, above(hard))) <= ORDER.index(decide(found, above(easy)))


@given(estimates, numbers, st.floats(0, 1))
def test_a_smaller_interval_never_turns_no_into_yes(found, at, share):
    """Narrowed around its estimate, an interval moves away from 'not testable' and 'weakly' to one side only."""
    narrow = Estimate(
        found.value,
        found.value - share * (found.value - found.low),
        found.value + share * (found.high - found.value),
        9,
    )
    before, after = decide(found, above(at)), decide(narrow, above(at))
    allowed = {
        "holds": {"holds"},
        "holds weakly": {"holds weakly", "holds"},
        "not testable here": {"not testable here", "does not hold here"},
        "does not hold here": {"does not hold here"},
    }
    assert after in allowed[before]


@given(st.dictionaries(st.text(max_size=3), st.tuples(estimates, bounds), min_size=1))
def test_a_claim_has_the_worst_verdict_of_its_statistics(given_):
    found = {name: one for name, (one, _) in given_.items()}
    limits = {name: bound for name, (_, bound) in given_.items()}
    verdict, reason = judge(found, limits)
    each = {name: decide(found[name], limits[name]) for name in found}
    assert ORDER.index(verdict) == min(map(ORDER.index, each.values()))
    if verdict == "holds":
        assert reason == ""
    assert judge(found, limits, trained=True, seeds=3)[0] == verdict
    assert judge(found, limits, untestable="so")[0] == "not testable here"


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_difference_between_trainings_takes_three_seeds(seeds):
    sure = {"gain": Estimate(1, 0.9, 1.1, 200)}
    verdict, reason = judge(sure, {"gain": above(0)}, trained=True, seeds=seeds)
    assert verdict == "not testable here"
    assert "chance may explain the difference" in reason
    assert judge(sure, {"gain": above(0)}, trained=True, seeds=3) == ("holds", "")
    assert judge(sure, {"gain": above(0)}, seeds=seeds) == ("holds", "")


def test_reasons_name_what_is_missing():
    bound = {"a": above(0), "b": above(0)}
    wide, sure, single = Estimate(-1, -2, 2, 9), Estimate(1, 0.5, 2, 9), verdicts.estimate(1.0)
    assert judge({"a": wide, "b": sure}, bound)[1] == "the interval contains both answers: a"
    assert judge({"a": sure, "b": single}, bound)[1] == "nothing tells how sure the number is: b"
    assert judge({"a": sure, "b": Estimate(-1, -2, -0.5, 9)}, bound) == ("does not hold here", "b")
    assert judge({"a": wide}, {"a": above(0)})[1] == "the interval contains both answers", "there is no other"
    assert judge({"a": Estimate(-1, -2, -0.5, 9)}, {"a": above(0)}) == ("does not hold here", "")
    both = judge({"a": wide, "b": sure}, bound, trained=True, untestable="all swaps are at chance")[1]
    assert both.startswith("all swaps are at chance; each kind was trained only")


def test_bounds_say_what_would_refute_them():
    assert [str(one) for one in (above(0.5), below(0.1), between(0.5, 2))] == [
        "above 0.5",
        "below 0.1",
        "between 0.5 and 2",
    ]
    assert above(-0.2).refuted == "an interval below -0.2"
    assert below(0.1).refuted == "an interval above 0.1"
    assert between(0.5, 2).refuted == "an interval outside of 0.5 to 2"
