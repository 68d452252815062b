"""The comparison table: every system on the same pairs, every measure and judge, with confidence intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from swaplib import cache, families, synthetic
from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.families import Family
from swaplib.judges import Judges
from swaplib.metrics.identity import self_consistency
from swaplib.metrics.image import SIZE, resized
from swaplib.metrics.pairs import Pairs, draw_pairs
from swaplib.metrics.scoring import CHUNK, NAMES, TRUTHS, Scorer, list_metrics
from swaplib.synthetic.threads import one_thread

# ---------------------------------------------------------------------------------------------- the table


def evaluate(names: Sequence[str] | Mapping[str, Family], pairs: int = 500, seed: int = 0, **options) -> pd.DataFrame:
    """Make the comparison table: `summarise` of `measure`, whose arguments it takes."""
    return summarise(measure(names, pairs, seed, **options), seed)


def measure(
    names: Sequence[str] | Mapping[str, Family],
    pairs: int = 500,
    seed: int = 0,
    size: int = SIZE,
    world: str = "calm",
    preset: str = "demo",
    jobs: int = 2,
    surround: Literal["rendered", "target"] = "rendered",
    progress: bool = True,
    photographs: Dataset | None = None,
    judges: Judges | None = None,
    ceilings: bool = False,
    people: int = 0,
    keep: bool = True,
    device: str = "cpu",
) -> pd.DataFrame:
    """Score families on pairs of rendered faces, or of photographs.

    names: families by name, or the names to show -> families. pairs: how many; the first ones are the same for any
    number. seed: the series of faces, of which only those from number `HELD_OUT` on are taken, so that a family may
    train on the same series. size: pixels per side at which the faces are rendered; a family gets them at its own
    size. world: the set of pairs, such as "calm" and "wild" (`SETS`). surround: as in `synthetic.true_swap`. jobs:
    processes; only the times depend on it. photographs: a prepared data set with landmarks from which pairs are drawn
    instead, of two subjects where those are known; without a true swap the likeness to it is NaN. judges: who measures;
    our own released ones by default. ceilings: further bounds are rows. people: among whom sources are looked for;
    0: they aren't. keep: look for the rows of rendered pairs on disk (`swaplib.cache`), and keep them there: the times
    are those of the first run then. device: of families that are named; on a GPU one process does all.
    Returns one row for each system and pair, with the columns `system`, `pair`, the names of `METRICS`, and those that
    the judges add (`Judges.columns`). Some rows of each pair are bounds:

    source            the source's picture as it is
    true swap         where it is known
    true swap, moved  with the source's expression, pose and light (a ceiling, as the rows below)
    skin alone        the true swap's colours on the target's head: a perfect picture in the target's geometry
    true swap, N px   the true swap as it comes through N pixels, for each size that the systems have
    """
    if pairs < 1:
        raise ValueError(f"{pairs} pairs: at least one is needed")
    systems = (
        dict(names) if isinstance(names, Mapping) else {name: families.load(name, preset, device) for name in names}
    )
    jobs = jobs if torch.device(device).type == "cpu" else 1
    taken = [name for name in systems if name == "source" or name.startswith(("true swap", "skin alone"))]
    if taken:
        raise ValueError(f"{taken[0]!r} is the name of a bound: call the family otherwise")
    if photographs is None:
        draw = _Rendered(seed, size, world, surround)
    else:
        draw = _Photographed(photographs, size, _couples(photographs, pairs, seed))
    judges = Judges.released() if judges is None else judges
    systems = {name: family.for_inference() for name, family in systems.items()}
    bounds = ["source"] if photographs is not None else _list_bounds(systems, size, ceilings)
    known = _identify(systems, bounds, (judges, draw, seed, people)) if keep and photographs is None else {}
    work = (
        delayed(_measure_chunk)(
            systems, bounds, judges, draw, range(first, min(first + CHUNK, pairs)), seed, people, known
        )
        for first in range(0, pairs, CHUNK)
    )
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    chunks = list(tqdm(done, total=-(-pairs // CHUNK), desc="pairs of faces", unit=f"x{CHUNK}", disable=not progress))
    frame = pd.concat(chunks, ignore_index=True)
    frame.attrs = {"pairs": pairs, "seed": seed, "size": size}
    frame.attrs |= {"world": world} if photographs is None else {"photographs": photographs.folder.name}
    frame.attrs |= {"preset": preset} | ({"surround": surround} if photographs is None else {})
    return frame


@dataclass(frozen=True)
class _Rendered:
    """Pairs of a set of rendered faces."""

    seed: int
    size: int
    world: str
    surround: Literal["rendered", "target"]

    def __call__(self, rows: range) -> Pairs:
        return draw_pairs(self.world, rows, self.size, self.seed, self.surround)


@dataclass(frozen=True)
class _Photographed:
    """Pairs of photographs, whose true swaps are unknown."""

    photographs: Dataset
    size: int
    couples: np.ndarray

    def __call__(self, rows: range) -> Pairs:
        source, target = (self.photographs[self.couples[rows, k].tolist()].resize(self.size) for k in (0, 1))
        return Pairs(source, target)


def _couples(photographs: Dataset, pairs: int, seed: int) -> np.ndarray:
    """Draw random pairs of different pictures, of different subjects where both are known, (pairs, 2)."""
    subjects = photographs.metadata["subject"].to_numpy()
    if len(photographs) < 2 or (len(set(subjects)) == 1 and subjects[0]):
        raise ValueError(f"{photographs.folder} has no two people to swap: prepare more photographs")
    rng, couples = np.random.default_rng(seed), []
    while len(couples) < pairs:
        one, other = rng.choice(len(photographs), 2, replace=False)
        if not subjects[one] or subjects[one] != subjects[other]:
            couples.append((one, other))
    return np.array(couples)


def _list_bounds(systems: Mapping[str, Family], size: int, ceilings: bool) -> list[str]:
    if not ceilings:
        return ["source", "true swap"]
    sizes = {getattr(family.config, "size", size) for family in systems.values() if not family.any_size}
    own = [f"true swap, {one} px" for one in sorted(sizes) if one < size]
    return ["source", "skin alone", "true swap", "true swap, moved", *own]


def _show_bound(name: str, pairs: Pairs) -> Faces:
    """Return the pictures of a bound, with the landmarks that they show."""
    if name == "skin alone":
        return synthetic.true_swap(pairs.source, pairs.target, groups=("skin",))
    if name.endswith(" px"):
        small = pairs.truth.resize(int(name.split()[-2]))
        return replace(pairs.truth, images=resized(small.images, pairs.truth.size[0]))
    return {"source": pairs.source, "true swap": pairs.truth, "true swap, moved": pairs.moved}[name]


def _identify(systems: Mapping[str, Family], bounds: Sequence[str], conditions: Any) -> dict[str, bytes]:
    """Return what a system's scores on some pairs follow from, by its name in the table; the bounds', too."""
    around = cache.fingerprint(conditions)
    if around is None:
        return {}
    found = {name: cache.fingerprint(family) for name, family in systems.items()}
    found |= {bound: bound.encode() for bound in bounds}
    code = cache.digest_code().encode()
    return {name: b"".join((code, around, one)) for name, one in found.items() if one is not None}


def _measure_chunk(
    systems: Mapping[str, Family],
    bounds: Sequence[str],
    judges: Judges,
    draw: Callable[[range], Pairs],
    rows: range,
    seed: int,
    people: int,
    known: Mapping[str, bytes],
) -> pd.DataFrame:
    """Score every system on the pairs of `rows`; known: from `_identify`, for those whose scores are kept."""
    pairs = lru_cache(lambda: Scorer(draw(rows), judges, people))

    def score(name: str) -> dict[str, torch.Tensor]:
        if name in systems:
            torch.manual_seed(seed + rows.start)  # for families that draw noise
            found = _score(systems[name], pairs())
        else:
            shown = _show_bound(name, pairs().pairs)
            found = pairs().score(shown.images, shown)
        return {
            key: torch.as_tensor(value, dtype=torch.float64).cpu().expand(len(rows)) for key, value in found.items()
        }

    with one_thread(), torch.random.fork_rng(devices=[]):
        scores = {}
        for name in (*bounds, *systems):
            if name in known:
                key = known[name] + repr(rows).encode()
                (scores[name],) = cache.recall("scores", [key], lambda _, name=name: [score(name)])
            else:
                scores[name] = score(name)
    parts, names = [], (*NAMES, *(metric.name for metric in judges.columns()))
    for name, columns in scores.items():
        columns = dict.fromkeys(names, np.nan) | {key: value.numpy() for key, value in columns.items()}
        parts.append(pd.DataFrame({"system": name, "pair": rows, **columns}))
    return pd.concat(parts)[["system", "pair", *names]]


def _score(family: Family, scorer: Scorer) -> dict[str, torch.Tensor | float]:
    """Compute every metric of a family's swaps."""
    device = next((parameter.device for parameter in family.parameters()), torch.device("cpu"))
    mine, others = (family.fit_size(faces).to(device) for faces in (scorer.pairs.source, scorer.pairs.target))
    start = time.perf_counter()
    overlay = family.overlay(mine, others).to("cpu")
    seconds = (time.perf_counter() - start) / len(overlay.images)
    return {
        **scorer.score(overlay.over(scorer.pairs.target)),
        **self_consistency(family, mine, others),
        "seconds": seconds,
    }


def summarise(scores: pd.DataFrame, seed: int = 0, draws: int = 2000) -> pd.DataFrame:
    """Return one row for each system: for every metric its mean, `_std` (over pairs), `_low` and `_high`.

    Low and high bound the 95% confidence interval of the mean: percentiles of `draws` bootstrap samples of the pairs.
    Pairs without a value (no face found) are left out of that metric. The column `pairs` says how many there were.
    """
    table, names = {}, [metric.name for metric in list_metrics(scores.columns)]
    for system, rows in scores.groupby("system", sort=False):
        row: dict[str, float] = {"pairs": len(rows)}
        for name in names:
            values = rows[name].dropna().to_numpy()
            keys = (name, f"{name}_std", f"{name}_low", f"{name}_high")
            row |= dict(zip(keys, _spread(values, seed, draws), strict=True))
        table[system] = row
    frame = pd.DataFrame.from_dict(table, orient="index").rename_axis("system")
    frame.attrs = dict(scores.attrs)
    return frame


def _spread(values: np.ndarray, seed: int, draws: int) -> tuple[float, float, float, float]:
    """Return the mean, the standard deviation and the bootstrap interval of the mean."""
    if not len(values):
        return (np.nan,) * 4
    if not np.isfinite(values).all():
        return float(values.mean()), np.nan, np.nan, np.nan
    picks = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan, float(low), float(high)


def table_markdown(table: pd.DataFrame, metrics: Sequence[str] | None = None) -> str:
    """Write `summarise`'s table as Markdown: means ± half the width of their 95% intervals, and how to read it.

    metrics: by name; all that have a value by default. Those that need a truth, which photographs don't have, are named
    below the table instead. Raises ValueError for an unknown one.
    """
    known = {metric.name: metric for metric in list_metrics(table.columns)}
    unknown = [name for name in metrics or () if name not in known]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}: choose from {', '.join(known)}")
    measured = [name for name in known if name in table and table[name].notna().any()]
    missing = TRUTHS.difference(measured) if "photographs" in table.attrs else frozenset()
    left = [metric.title for name, metric in known.items() if name in missing and (metrics is None or name in metrics)]
    wanted = measured if metrics is None else metrics
    shown = [metric for name, metric in known.items() if name in wanted and name not in missing]
    arrow = {"higher": "↑", "lower": "↓"}
    lines = ["| | " + " | ".join(f"{metric.title} {arrow[metric.better]}" for metric in shown) + " |"]
    lines.append("|---|" + "---:|" * len(shown))
    for system, row in table.iterrows():
        lines.append(f"| {system} | " + " | ".join(_cell(row, metric.name) for metric in shown) + " |")
    facts = ", ".join(f"{key} {value}" for key, value in table.attrs.items())
    lines += [
        "",
        f"Means ± half the 95% confidence interval (bootstrap over pairs){f'; {facts}' if facts else ''}.",
        "",
    ]
    lines += [f"Left out, since photographs have no true swap: {', '.join(left)}.", ""] if left else []
    lines += [f"- {metric.title}: {metric.meaning}" for metric in shown]
    return "\n".join(lines)


def in_words(table: pd.DataFrame, systems: Sequence[str], metric: str, digits: int = 3) -> str:
    """Say one metric of some rows of `summarise`'s table as a phrase: means ± half the width of their 95% intervals."""
    rows = ((name, table.loc[name]) for name in systems)
    halves = {name: (row[metric], (row[f"{metric}_high"] - row[f"{metric}_low"]) / 2) for name, row in rows}
    return ", ".join(f"{name} {mean:.{digits}f} ± {half:.{digits}f}" for name, (mean, half) in halves.items())


def _cell(row: pd.Series, name: str) -> str:
    mean, half = row[name], (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    if np.isnan(mean):
        return "–"
    if np.isinf(mean):
        return "∞"
    digits = 2 if abs(mean) >= 10 else 3 if abs(mean) >= 0.1 else 4
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if np.isfinite(half) else "")
