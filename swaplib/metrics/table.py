"""The comparison table: every system on the same pairs, every measure and judge, with confidence intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from swaplib import cache, families, photos, synthetic
from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.families import Family
from swaplib.judges import Judges
from swaplib.judges.panel import Metric, Reading, describe
from swaplib.metrics.identity import as_target, estimate_poses, score_identity, self_consistency
from swaplib.metrics.image import SIZE, resized, score_swaps
from swaplib.synthetic import HELD_OUT
from swaplib.synthetic.threads import one_thread

_CHUNK = 10  # pairs per task, whatever the number of processes


METRICS = (
    Metric("psnr", "PSNR", "higher", "dB to the true swap, whole picture"),
    Metric("psnr_face", "PSNR face", "higher", "dB to the true swap, inside its face region"),
    Metric("ssim", "SSIM", "higher", "to the true swap"),
    Metric("ssim_face", "SSIM face", "higher", "to the true swap, inside its face region"),
    Metric("ms_ssim", "MS-SSIM", "higher", "to the true swap"),
    Metric("ms_ssim_face", "MS-SSIM face", "higher", "to the true swap, inside its face region"),
    Metric("error", "abs. error", "lower", "mean absolute difference to the true swap, of a range of 1"),
    Metric("to_source", "id. to source", "lower", "squared Euclidean distance of dlib's descriptors, to the source"),
    Metric("to_target", "id. to target", "higher", "squared Euclidean distance of dlib's descriptors, to the target"),
    Metric("nearer_source", "nearer source", "higher", "share of swaps that dlib finds nearer the source"),
    Metric("smooth", "id. smooth", "lower", "distance of the contrastive embedder's unit vectors, to the source"),
    Metric("smooth_r", "id. smooth-R", "lower", "the same, of the sum of those to source and target"),
    Metric("margin", "id. margin", "lower", "distance of the margin-trained embedder's unit vectors, to the source"),
    Metric("margin_r", "id. margin-R", "lower", "the same, of the sum of those to source and target"),
    Metric("shape", "shape", "lower", "mm between the heads at rest that the shape judge sees, to the source"),
    Metric("shape_r", "shape-R", "lower", "the same, of the sum of those to source and target"),
    Metric(
        "shape_true", "shape, true", "lower", "mm from the head that the shape judge sees to the source's known one"
    ),
    Metric("expression", "expression", "lower", "mm that the expression moves the face otherwise, to the target"),
    Metric("expression_r", "expression-R", "lower", "the same, of the sum of those to source and target"),
    Metric("pose", "pose", "lower", "degrees between the heads, to the target"),
    Metric("pose_r", "pose-R", "lower", "the same, of the sum of those to source and target"),
    Metric("pose_marks", "pose, marks", "lower", "degrees of yaw and roll to the target, by dlib's landmarks"),
    Metric("perceptual", "perceptual", "lower", "distance of the classifying embedder's features, to the true swap"),
    Metric("detected", "detected", "higher", "share of swaps in which dlib detects a face"),
    Metric("reconstruction_error", "rec. error", "lower", "decode(encode(x)) to x, mean absolute difference"),
    Metric("reconstruction_ms_ssim", "rec. MS-SSIM", "higher", "decode(encode(x)) to x"),
    Metric("twice_error", "twice error", "lower", "swapped and swapped back, to the first picture (RSGAN, 4.2)"),
    Metric("twice_ms_ssim", "twice MS-SSIM", "higher", "swapped and swapped back, to the first picture"),
    Metric("seconds", "s per swap", "lower", f"in batches of {_CHUNK}, one thread; compare within one table only"),
)
_NAMES = tuple(metric.name for metric in METRICS)


def _list_metrics(columns: Sequence[str]) -> tuple[Metric, ...]:
    """Return `METRICS`, followed by those of judges that were handed in, by the columns of a table."""
    spreads = {f"{name}_{what}" for name in columns for what in ("std", "low", "high")}
    return METRICS + tuple(found for name in columns if name not in spreads and (found := describe(name)))


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
    keep: bool = True,
) -> pd.DataFrame:
    """Score families on random pairs of rendered faces, or of photographs.

    names: families by name, or the names to show -> families. pairs: how many; the first ones are the same for any
    number. seed: the series of faces, of which only those from number `HELD_OUT` on are taken, so that a family may
    train on the same series. size: pixels per side at which the faces are rendered; a family gets them at its own
    size. world, surround: as in `synthetic.render_faces` and `synthetic.true_swap`. jobs: processes; only the times
    depend on it. photographs: a prepared data set with landmarks from which pairs are drawn instead, of two subjects
    where those are known; without a true swap the likeness to it is NaN. judges: who measures; our own released ones
    by default. keep: look for the rows of rendered pairs on disk (`swaplib.cache`), and keep them there: the times are
    those of the first run then.
    Returns one row for each system and pair, with the columns `system`, `pair`, the names of `METRICS`, and those that
    the judges add (`Judges.columns`). Two rows of each pair are bounds: "source", the source's picture as it is, and,
    where it is known, "true swap".
    """
    if pairs < 1:
        raise ValueError(f"{pairs} pairs: at least one is needed")
    systems = dict(names) if isinstance(names, Mapping) else {name: families.load(name, preset) for name in names}
    taken = [name for name in systems if name in ("source", "true swap")]
    if taken:
        raise ValueError(f"{taken[0]!r} is the name of a bound: call the family otherwise")
    if photographs is None:
        draw = _Rendered(seed, size, world, surround)
    else:
        draw = _Photographed(photographs, size, _couples(photographs, pairs, seed))
    judges = Judges.released() if judges is None else judges
    systems = {name: family.for_inference() for name, family in systems.items()}
    known = _identify(systems, (judges, draw, seed)) if keep and isinstance(draw, _Rendered) else {}
    work = (
        delayed(_measure_chunk)(systems, judges, draw, range(first, min(first + _CHUNK, pairs)), seed, known)
        for first in range(0, pairs, _CHUNK)
    )
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    chunks = list(tqdm(done, total=-(-pairs // _CHUNK), desc="pairs of faces", unit=f"x{_CHUNK}", disable=not progress))
    frame = pd.concat(chunks, ignore_index=True)
    frame.attrs = {"pairs": pairs, "seed": seed, "size": size}
    frame.attrs |= {"world": world} if photographs is None else {"photographs": photographs.folder.name}
    frame.attrs |= {"preset": preset} | ({"surround": surround} if photographs is None else {})
    return frame


@dataclass(frozen=True)
class _Rendered:
    """Pairs of rendered faces, with their true swaps."""

    has_truth: ClassVar[bool] = True
    seed: int
    size: int
    world: str
    surround: Literal["rendered", "target"]

    def __call__(self, rows: range) -> tuple[Faces, Faces, Faces | None]:
        both = synthetic.render_faces(2 * len(rows), self.seed, HELD_OUT + 2 * rows.start, self.world, self.size)
        source, target = both[::2], both[1::2]
        return source, target, synthetic.true_swap(source, target, surround=self.surround)


@dataclass(frozen=True)
class _Photographed:
    """Pairs of photographs, whose true swaps are unknown."""

    has_truth: ClassVar[bool] = False
    photographs: Dataset
    size: int
    couples: np.ndarray

    def __call__(self, rows: range) -> tuple[Faces, Faces, Faces | None]:
        source, target = (self.photographs[self.couples[rows, k].tolist()].resize(self.size) for k in (0, 1))
        return source, target, None


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


def _identify(systems: Mapping[str, Family], conditions: Any) -> dict[str, bytes]:
    """Return what a system's scores on some pairs follow from, by its name in the table; the bounds' names, too."""
    around = cache.fingerprint(conditions)
    if around is None:
        return {}
    found = {name: cache.fingerprint(family) for name, family in systems.items()}
    found |= {bound: bound.encode() for bound in ("source", "true swap")}
    code = cache.digest_code().encode()
    return {name: b"".join((code, around, one)) for name, one in found.items() if one is not None}


def _measure_chunk(
    systems: Mapping[str, Family],
    judges: Judges,
    draw: Any,
    rows: range,
    seed: int,
    known: Mapping[str, bytes],
) -> pd.DataFrame:
    """Score every system on the pairs of `rows`; known: from `_identify`, for those whose scores are kept."""
    pairs = _Pairs(draw, rows, judges)

    def score(name: str) -> dict[str, torch.Tensor]:
        if name in systems:
            torch.manual_seed(seed + rows.start)  # for families that draw noise
            found = _score(systems[name], pairs)
        else:
            found = _verdict(pairs.source if name == "source" else pairs.truth, pairs)
        return {key: torch.as_tensor(value, dtype=torch.float64).expand(len(rows)) for key, value in found.items()}

    with one_thread(), torch.random.fork_rng(devices=[]):
        bounds = ["source", "true swap"] if draw.has_truth else ["source"]
        scores = {}
        for name in (*bounds, *systems):
            if name in known:
                key = known[name] + repr(rows).encode()
                (scores[name],) = cache.recall("scores", [key], lambda _, name=name: [score(name)])
            else:
                scores[name] = score(name)
    parts, names = [], (*_NAMES, *(metric.name for metric in judges.columns()))
    for name, columns in scores.items():
        columns = dict.fromkeys(names, np.nan) | {key: value.numpy() for key, value in columns.items()}
        parts.append(pd.DataFrame({"system": name, "pair": rows, **columns}))
    return pd.concat(parts)[["system", "pair", *names]]


class _Pairs:
    """Sources, targets, true swaps where known, and what every system's scores need of them, made when asked for."""

    def __init__(self, draw: Any, rows: range, judges: Judges):
        self.draw, self.rows, self.judges = draw, rows, judges

    @cached_property
    def _drawn(self) -> tuple[Faces, Faces, Faces | None]:
        return self.draw(self.rows)

    @property
    def source(self) -> Faces:
        return self._drawn[0]

    @property
    def target(self) -> Faces:
        return self._drawn[1]

    @property
    def truth(self) -> Faces | None:
        return self._drawn[2]

    @cached_property
    def owners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors of the sources and of the targets, by dlib."""
        return photos.describe(self.source), photos.describe(self.target)

    @cached_property
    def readings(self) -> tuple[Reading, Reading]:
        """What the judges see in the sources and in the targets."""
        return self.judges.read(self.source), self.judges.read(self.target)

    @cached_property
    def poses(self) -> torch.Tensor:
        """The targets' yaw and roll, by the landmarks that dlib finds."""
        return estimate_poses(self.target.images)


def _verdict(shown: Faces, pairs: _Pairs) -> dict[str, torch.Tensor]:
    """Return all judges' scores of swapped faces."""
    poses = estimate_poses(shown.images)
    return {
        **({} if pairs.truth is None else score_swaps(shown.images, pairs.truth)),
        **score_identity(shown, *pairs.owners),
        **pairs.judges.score(shown.images, pairs.source, pairs.target, pairs.truth, pairs.readings),
        "pose_marks": (poses - pairs.poses).norm(dim=1),
        "detected": poses.isfinite().all(1).float(),
    }


def _score(family: Family, pairs: _Pairs) -> dict[str, torch.Tensor | float]:
    """Compute every metric of a family's swaps."""
    mine, others = family.fit_size(pairs.source), family.fit_size(pairs.target)
    start = time.perf_counter()
    images = family.swap(mine, others)
    seconds = (time.perf_counter() - start) / len(images)
    # dlib looks for the face where the target's is, at the size of the other pictures.
    swapped = as_target(resized(images, pairs.target.size[0]), pairs.target)
    return {**_verdict(swapped, pairs), **self_consistency(family, mine, others), "seconds": seconds}


def summarise(scores: pd.DataFrame, seed: int = 0, draws: int = 2000) -> pd.DataFrame:
    """Return one row for each system: for every metric its mean, `_std` (over pairs), `_low` and `_high`.

    Low and high bound the 95% confidence interval of the mean: percentiles of `draws` bootstrap samples of the pairs.
    Pairs without a value (no face found) are left out of that metric. The column `pairs` says how many there were.
    """
    table, names = {}, [metric.name for metric in _list_metrics(scores.columns)]
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

    metrics: by name; all that have a value by default. Raises ValueError for an unknown one.
    """
    known = {metric.name: metric for metric in _list_metrics(table.columns)}
    unknown = [name for name in metrics or () if name not in known]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}: choose from {', '.join(known)}")
    wanted = [name for name in known if name in table and table[name].notna().any()] if metrics is None else metrics
    shown = [metric for name, metric in known.items() if name in wanted]
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
