"""Score folders of swaps: every pair by every judge, one table for all folders, and the differences pair by pair."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from swaplib import metrics, photos
from swaplib.benchmark.folders import Card, draw_again, find_swap, read_card, read_swap
from swaplib.judges import Judges, fidelity
from swaplib.metrics import temporal
from swaplib.metrics.identity import as_target
from swaplib.metrics.pairs import Pairs
from swaplib.metrics.retrieval import PEOPLE
from swaplib.metrics.scoring import CHUNK, NAMES, Scorer
from swaplib.provenance import replacing, write_text
from swaplib.synthetic.threads import one_thread

BOUNDS = ("source", "target", "true swap")
"""Rows that every table has: the source's and the target's picture as they are, and the true swap."""


@dataclass(frozen=True)
class Report:
    """Scores of all folders on the pairs of a card.

    scores: a row for each system and pair. summary: `metrics.summarise` of it, with the distances of distributions.
    trouble: system -> pair -> what was wrong with its picture: missing, broken, resized.
    """

    card: Card
    folders: dict[str, Path]
    scores: pd.DataFrame
    summary: pd.DataFrame
    trouble: dict[str, dict[str, str]] = field(default_factory=dict)

    def compare(self, against: str) -> pd.DataFrame:
        """Return the mean difference of each system to a chosen one, pair by pair, with its 95% interval.

        Columns: system, metric, difference, low, high, better (the share of pairs in which it is better).
        Raises ValueError for a name that is no row.
        """
        systems = list(self.summary.index)
        if against not in systems:
            raise ValueError(f"{against!r} is no row of the table: choose one of {', '.join(systems)}")
        wide = {metric.name: self.scores.pivot(index="pair", columns="system", values=metric.name)
                for metric in metrics.METRICS if metric.name != "given"}  # fmt: skip
        rows = []
        for system in systems:
            for metric in (one for one in metrics.METRICS if one.name in wide and system != against):
                gap = (
                    (wide[metric.name][system] - wide[metric.name][against]).replace([np.inf, -np.inf], np.nan).dropna()
                )
                if not len(gap):
                    continue
                picks = np.random.default_rng(self.card.seed).integers(0, len(gap), (2000, len(gap)))
                low, high = np.percentile(gap.to_numpy()[picks].mean(1), [2.5, 97.5])
                wins = (gap > 0) if metric.better == "higher" else (gap < 0)
                rows.append({"system": system, "metric": metric.name, "difference": gap.mean(), "low": low,
                             "high": high, "better": wins.mean()})  # fmt: skip
        return pd.DataFrame(rows)

    def save(self, out: str | os.PathLike, against: str = "target") -> Path:
        """Save scores, table, differences and the page into a folder; return the page's path."""
        from swaplib.benchmark.page import write_page

        out = Path(out)
        tables = {"scores": self.scores, "table": self.summary.reset_index(), "differences": self.compare(against)}
        for name, frame in tables.items():
            with replacing(out / f"{name}.csv") as temporary:
                frame.to_csv(temporary, index=False)
        write_text(out / "table.md", f"{self.tell()}\n\n{metrics.table_markdown(self.summary)}\n")
        return write_page(self, out / "index.html", against)

    def tell(self) -> str:
        """Describe pairs and troubles in a few sentences."""
        card = self.card
        told = f"{len(card.pairs)} pairs of {card.set} ({card.kind.title}), {card.size} px, {card.series}"
        told += f", {card.digest[:12]}."
        for system, pairs in self.trouble.items():
            for what in dict.fromkeys(pairs.values()):
                names = [name for name, trouble in pairs.items() if trouble == what]
                some = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
                told += f" {system}: {len(names)} {what} ({some})."
        return told


def score(
    pairs: str | os.PathLike,
    folders: Mapping[str, str | os.PathLike],
    judges: Judges | None = None,
    jobs: int = 2,
    people: int = PEOPLE,
    progress: bool = True,
) -> Report:
    """Score folders of swaps of exported pairs: the names to show -> folders.

    Pictures of another size are resized; those that are missing or can't be read count as not given, and are named
    (`Report.trouble`). judges: our own released ones by default. people: among whom sources are looked for.
    Raises ValueError for folders without any swap, for names of bounds, and as `draw_again` does; FileNotFoundError.
    """
    card, judges = read_card(pairs), Judges.released() if judges is None else judges
    folders = {name: Path(folder) for name, folder in folders.items()}
    for name, folder in folders.items():
        if name in BOUNDS:
            raise ValueError(f"{name!r} is a row of every table: call the folder otherwise")
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}: check the path")
        if not any(find_swap(folder, pair) for pair in card.names):
            raise ValueError(f"{folder} has no swap of these pairs: its files must be called {card.names[0]}.png …")
    rows = [range(first, min(first + CHUNK, len(card.pairs))) for first in range(0, len(card.pairs), CHUNK)]
    work = (delayed(_score_some)(card, folders, judges, some, people) for some in rows)
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    parts = list(tqdm(done, total=len(rows), unit=f"x{CHUNK}", desc="scoring", disable=not progress))
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    scores.attrs = {"pairs": len(card.pairs), "set": card.set, "size": card.size, "seed": card.seed}
    trouble: dict[str, dict[str, str]] = {}
    for part in parts:
        for system, found in part.trouble.items():
            trouble.setdefault(system, {}).update(found)
    summary = metrics.summarise(scores, card.seed).join(_compare_features(parts))
    if card.kind.frames > 1:
        summary = summary.join(_spread_identity(parts, card))
    summary.attrs = dict(scores.attrs)
    return Report(card, folders, scores, summary, trouble)


@dataclass(frozen=True)
class _Part:
    scores: pd.DataFrame
    features: dict[str, torch.Tensor]
    trouble: dict[str, dict[str, str]]
    codes: dict[str, dict[int, torch.Tensor]]  # of a clip's frames: system -> number of the pair -> dlib's descriptor


def _score_some(card: Card, folders: Mapping[str, Path], judges: Judges, rows: range, people: int) -> _Part:
    """Score the swaps of some pairs; the rows of a system without a picture hold nothing else."""
    with one_thread():
        pairs = draw_again(card, rows)
        whole, features = Scorer(pairs, judges, people), fidelity.load_features()
        shown: dict[str, dict[int, torch.Tensor]] = {
            "source": dict(enumerate(pairs.source.images.split(1))),
            "target": dict(enumerate(pairs.target.images.split(1))),
            "true swap": dict(enumerate(pairs.truth.images.split(1))),
        }
        trouble: dict[str, dict[str, str]] = {}
        for name, folder in folders.items():
            shown[name], found = _read_some(folder, [card.names[row] for row in rows], card.size)
            trouble |= {name: found} if found else {}
        tables, seen, codes = [], {}, {}
        numbers = [card.pairs[row]["number"] for row in rows]
        for name, images in shown.items():
            table = pd.DataFrame(np.nan, range(len(rows)), [*NAMES, *(one.name for one in judges.columns())])
            table["given"] = [float(row in images) for row in range(len(rows))]
            if images:
                given = list(images)
                scorer = whole if len(given) == len(rows) else Scorer(_pick(pairs, given), judges, people)
                shot = {"source": pairs.source, "true swap": pairs.truth}.get(name)
                pictures = torch.cat(list(images.values()))
                for column, values in scorer.score(pictures, shot).items():
                    table.loc[given, column] = values.double().numpy()
                seen[name] = features(pictures)
                if card.kind.frames > 1:
                    described = photos.describe(as_target(pictures, shot or scorer.pairs.target))
                    codes[name] = dict(zip((numbers[row] for row in given), described, strict=True))
            tables.append(table.assign(system=name, pair=numbers))
        scores = pd.concat(tables, ignore_index=True)
        columns = ["system", "pair", *(column for column in scores if column not in ("system", "pair"))]
        return _Part(scores[columns], seen, trouble, codes)


def _read_some(folder: Path, names: list[str], size: int) -> tuple[dict[int, torch.Tensor], dict[str, str]]:
    """Read the swaps of some pairs: row -> image (1, 3, size, size), and what was wrong with others, by name."""
    images, trouble = {}, {}
    for row, name in enumerate(names):
        path = find_swap(folder, name)
        if path is None:
            trouble[name] = "missing"
            continue
        try:
            images[row], resized = read_swap(path, size)
        except photos.PhotoError:
            trouble[name] = "broken"
            continue
        if resized:
            trouble[name] = "resized"
    return images, trouble


def _pick(pairs: Pairs, rows: list[int]) -> Pairs:
    return Pairs(*(one[rows] for one in (pairs.source, pairs.target, pairs.truth, pairs.moved)))


def _spread_identity(parts: list[_Part], card: Card) -> pd.DataFrame:
    """Return the spread of identity over each clip's frames by dlib, mean over the clips."""
    clips: dict[str, dict[int, list[torch.Tensor]]] = {}
    for part in parts:
        for name, codes in part.codes.items():
            for number, code in codes.items():
                clips.setdefault(name, {}).setdefault(number // card.kind.frames, []).append(code)
    spreads = {
        name: torch.stack([temporal.measure_identity_spread(torch.stack(codes)) for codes in of.values()]).nanmean()
        for name, of in clips.items()
    }
    return pd.DataFrame({"identity_spread": {name: float(spread) for name, spread in spreads.items()}})


def _compare_features(parts: list[_Part]) -> pd.DataFrame:
    """Return the Fréchet and the kernel distance of each system's pictures to the true swaps."""
    features: dict[str, list[torch.Tensor]] = {}
    for part in parts:
        for name, found in part.features.items():
            features.setdefault(name, []).append(found)
    together = {name: torch.cat(found).double() for name, found in features.items()}
    truth, rows = together["true swap"], {}
    for name, found in together.items():
        if len(found) > 1:
            kernel, spread = fidelity.kernel_distance(found, truth)
            rows[name] = {"frechet": fidelity.frechet_distance(found, truth), "kernel": kernel, "kernel_std": spread}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["frechet", "kernel", "kernel_std"])
