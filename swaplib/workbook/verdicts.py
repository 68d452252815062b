"""Verdicts by rule: estimates with their intervals, the bounds that a claim sets, and what follows from the two.

    estimate(values)          a mean with its 95% interval, over pairs, faces, frames or seeds
    share(hits)               a share of yes and no
    ratio(values, whole)      a ratio of means, over pairs
    rank_correlation(a, b)    over pairs
    difference(table, a, b, column)    of two rows of a table that keeps means and deviations only
    judge(estimates, bounds)  the verdict, and why

What is independent of each other is a unit: two pictures of one pair are not. NaN is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

Verdict = Literal["holds", "holds weakly", "does not hold here", "not testable here"]
ORDER: tuple[Verdict, ...] = ("does not hold here", "not testable here", "holds weakly", "holds")
"""The worst verdict first: of several statistics, the worst is the claim's."""
LEVEL = 0.95
DRAWS = 4000
SEEDS = 3
"""Trainings of each kind that a difference between trainings takes."""

# ---------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, from n independent units. NaN: unknown, as the interval of a single unit is."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low + self.high) else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.3g}{interval}"


def estimate(values: ArrayLike) -> Estimate:
    """Estimate a mean, with Student's interval. A single number is one unit, whose interval is unknown."""
    (values,) = _units(values)
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / n**0.5 if n > 1 else math.nan
    return Estimate(mean, float(mean - half), float(mean + half), n)


def share(hits: ArrayLike) -> Estimate:
    """Estimate a share of yes and no (1 and 0), with Wilson's interval."""
    (hits,) = _units(hits)
    if len(hits) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    if not np.isin(hits, (0, 1)).all():
        raise ValueError("a share is one of yes and no: give 1 and 0")
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(LEVEL, method="wilson")
    return Estimate(float(hits.mean()), float(interval.low), float(interval.high), len(hits))


def bootstrap(statistic: Callable[..., float], *samples: ArrayLike) -> Estimate:
    """Estimate any statistic of samples over the same units, with the percentile interval of redrawn units."""
    samples = _units(*samples)
    n = len(samples[0])
    value = float(statistic(*samples)) if n else math.nan
    if n < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, n)
    options = {"paired": True, "vectorized": False, "confidence_level": LEVEL, "method": "percentile"}
    found = stats.bootstrap(samples, statistic, n_resamples=DRAWS, random_state=0, **options).confidence_interval
    return Estimate(value, float(found.low), float(found.high), n)


def ratio(values: ArrayLike, whole: ArrayLike) -> Estimate:
    """Estimate a ratio of means over the same units."""
    return bootstrap(lambda a, b: a.mean() / b.mean(), values, whole)


def rank_correlation(one: ArrayLike, other: ArrayLike) -> Estimate:
    """Estimate Spearman's rank correlation."""
    return bootstrap(_correlate_ranks, one, other)


def difference(table: pd.DataFrame, first: str, second: str, column: str) -> Estimate:
    """Estimate one row's mean less another's, from a table that keeps means and deviations, with Welch's interval.

    table: as from `metrics.summarise`. The pairs are taken for different ones, which makes the interval too wide
    rather than too narrow where both rows met the same.
    """
    (one, one_std, n), (other, other_std, m) = (
        (float(table.loc[row, column]), float(table.loc[row, f"{column}_std"]), int(table.loc[row, "pairs"]))
        for row in (first, second)
    )
    parts = np.array([one_std**2 / n, other_std**2 / m])
    freedom = parts.sum() ** 2 / (parts**2 / [n - 1, m - 1]).sum()
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * parts.sum() ** 0.5
    return Estimate(one - other, float(one - other - half), float(one - other + half), min(n, m))


def _units(*samples: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return samples as vectors, without the units of which one of them knows nothing."""
    rows = np.stack([np.atleast_1d(np.asarray(one, dtype=float)).ravel() for one in samples])
    return tuple(rows[:, ~np.isnan(rows).any(0)])


def _correlate_ranks(one: np.ndarray, other: np.ndarray) -> float:
    a, b = (stats.rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    size = math.sqrt((a @ a) * (b @ b))
    return float(a @ b) / size if size else math.nan


# ---------------------------------------------------------------------------------------------- bounds, and the rule


@dataclass(frozen=True)
class Bound:
    """Where a statistic must lie for a claim to hold: strictly between low and high."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"below {self.high:g}" if math.isinf(self.low) else f"between {self.low:g} and {self.high:g}"

    @property
    def refuted(self) -> str:
        """The interval that would refute it, as a phrase."""
        if math.isinf(self.high):
            return f"an interval below {self.low:g}"
        side = f"above {self.high:g}" if math.isinf(self.low) else f"outside of {self.low:g} to {self.high:g}"
        return f"an interval {side}"


def above(value: float) -> Bound:
    """Bound a statistic from below."""
    return Bound(low=value)


def below(value: float) -> Bound:
    """Bound a statistic from above."""
    return Bound(high=value)


def between(low: float, high: float) -> Bound:
    """Bound a statistic from both sides."""
    return Bound(low, high)


def decide(found: Estimate, bound: Bound) -> Verdict:
    """Decide about one statistic.

    It holds if the whole interval lies beyond the bound, weakly if the estimate does; it does not hold if the whole
    interval lies on the other side. What is left contains both answers, or has no interval: not testable.
    """
    if any(map(math.isnan, (found.value, found.low, found.high))):
        return "not testable here"
    if bound.low < found.low and found.high < bound.high:
        return "holds"
    if bound.low < found.value < bound.high:
        return "holds weakly"
    if found.high <= bound.low or found.low >= bound.high:
        return "does not hold here"
    return "not testable here"


def judge(
    found: Mapping[str, Estimate],
    bounds: Mapping[str, Bound],
    trained: bool = False,
    seeds: int = 1,
    untestable: str = "",
) -> tuple[Verdict, str]:
    """Judge a claim by its statistics: return the verdict, the worst of theirs, and the reason.

    found, bounds: by the statistic's name. trained: the claim is on a difference between trainings, and takes `SEEDS`
    of each kind. untestable: why the test can't answer here, whatever the numbers are.
    """
    often = {1: "only once", 2: "only twice"}.get(seeds)
    few = f"each kind was trained {often}, so chance may explain the difference" if trained and seeds < SEEDS else ""
    if untestable or few:
        return "not testable here", "; ".join(reason for reason in (untestable, few) if reason)
    verdicts = {name: decide(found[name], bound) for name, bound in bounds.items()}
    worst = min(verdicts.values(), key=ORDER.index)
    names = [name for name, verdict in verdicts.items() if verdict == worst]
    which = "; ".join(names) if len(bounds) > 1 else ""
    unknown = any(math.isnan(found[name].low + found[name].high) for name in names)
    reasons = {
        "does not hold here": "",
        "not testable here": "nothing tells how sure the number is"
        if unknown
        else "the interval contains both answers",
        "holds weakly": "the interval also contains the opposite answer",
    }
    return worst, ": ".join(part for part in (reasons[worst], which) if part) if worst in reasons else ""
