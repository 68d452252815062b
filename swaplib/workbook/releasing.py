"""Put trained weights into the package: measured, with the row of the comparison table on their card.

    swaplib release rsgan demo runs/rsgan_demo.safetensors --notes "What was tried, what falls short."
    swaplib release parser demo runs/parser_demo.safetensors --data faces --data photographs

Families are measured on rendered pairs, judges and generators on the held-out part of prepared datasets. The file is
copied as it is: weights that were trained with it name it by its SHA-256.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from swaplib import data, families, metrics, weights
from swaplib.training.model import FrozenModel, Model
from swaplib.workbook import recipes, studies

COLUMNS = ("psnr_face", "ssim_face", "to_source", "nearer_source", "detected", "reconstruction_error",
           "reconstruction_ms_ssim", "twice_error", "twice_ms_ssim")  # fmt: skip


class Release(NamedTuple):
    """The released file, what it measured, and what the weights before it had measured."""

    file: Path
    results: dict[str, float]
    before: dict[str, float]


def release(
    name: str,
    preset: str,
    file: str | os.PathLike,
    *,
    pairs: int = 200,
    size: int = 128,
    notes: str = "",
    datasets: Sequence[str | os.PathLike] = (),
    runs: Sequence[str | os.PathLike] = (),
) -> Release:
    """Measure the weights in a file and save them as the released ones of a model at a preset.

    pairs, size   a family is measured on `pairs` rendered calm pairs of `size` pixels per side
    datasets      folders of prepared datasets, on whose part "val" a judge or generator is measured
    notes         Markdown for the end of the card
    runs          folders of the runs that led to the file, in order: their log is kept
    """
    model = recipes.registry(name).load(name, file=file)
    known = weights.read_card(file)
    facts = {item.name: known[item.name] for item in fields(weights.Card) if item.name in known}
    if "steps" not in facts:
        raise ValueError(f"{file} was imported, not trained: release weights that swaplib train has saved")
    results = report(model, datasets) if isinstance(model, FrozenModel) else compare(model, pairs, size)
    path = weights.find_released(name, preset)
    before = weights.read_card(path)["results"] if path.with_suffix(".md").exists() else {}
    facts |= {"results": results, "notes": notes}
    if runs:
        log = whole_log(name, model.config, runs)
        log.to_csv(path.with_suffix(".csv"), index=False)
        facts |= {"steps": int(log["step"].max()), "images": int(log["images"].max())}
        facts["seconds"] = float(log["seconds"].max())
    return Release(weights.save(model, path, weights.Card(**facts), file), results, before)


def report(model: FrozenModel, datasets: Sequence[str | os.PathLike]) -> dict[str, float]:
    """Measure a judge or generator on the held-out parts of prepared datasets."""
    found = {Path(folder).name: model.report(data.open(folder).split("val")) for folder in datasets}
    return {f"{key}, {name}": round(value, 4) for name, values in found.items() for key, value in values.items()}


def compare(family: Model, pairs: int, size: int) -> dict[str, float]:
    """Measure a family on rendered pairs: its row of the comparison table."""
    table = metrics.evaluate({family.name: family}, pairs, size=size, progress=False)
    row = table.loc[family.name, [column for column in COLUMNS if column in table]].astype(float).dropna()
    return {column: round(value, 4) for column, value in row.items()} | {"pairs": pairs}


def whole_log(name: str, preset: Any, runs: Sequence[str | os.PathLike], rows: int = 300) -> pd.DataFrame:
    """Join the logs of runs that followed each other, with counts carried on, averaged into about `rows` rows."""
    tables, before = [], {"step": 0, "images": 0, "seconds": 0.0}
    for number, folder in enumerate(runs, 1):
        table = recipes.read_log(name, preset, folder)
        for column, done in before.items():
            table[column] += done
        before = {column: table[column].iloc[-1] for column in before}
        tables.append(table.assign(run=number))
    whole = pd.concat(tables, ignore_index=True)
    width = -(-len(whole) // rows)
    groups = whole.groupby(["run", "stage", np.arange(len(whole)) // width], sort=False)
    last = groups[["step", "images", "seconds", "rate"]].last()
    means = groups[[column for column in whole if "/" in column]].mean()
    return last.join(means).reset_index(["run", "stage"]).round(6)


def results_markdown(preset: str = "demo") -> str:
    """Return the five systems' rows of the one table (`swaplib study comparison`) in Markdown, with their cards.

    `swaplib info --results` prints it; README shows it. Raises FileNotFoundError without a checkout.
    """
    table = studies.read_results("comparison_500.csv", ("system",)).set_index("system")
    lines = [
        "| system | paper | size | PSNR, face | SSIM, its own truth | nearer the source | first of 1,000 "
        "| GPU, paper's size | card |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    seconds = _read_seconds()
    for name in families.ready(preset):
        kind, path = families.kind(name), weights.find_released(name, preset)
        if kind.paper is None or name not in table.index:
            continue
        title, number = kind.paper
        size, row = weights.read_card(path)["config"]["size"], table.loc[name]
        where = f"swaplib/checkpoints/{path.with_suffix('.md').name}"
        own = row["ssim_face_moved" if kind.moved else "ssim_face"]
        lines.append(
            f"| {title} | [{number}](https://arxiv.org/abs/{number}) | {size} px | {row['psnr_face']:.1f} dB "
            f"| {own:.2f} | {row['nearer_source']:.0%} | {row['top_1']:.0%} | {seconds.get(name, '')} "
            f"| [{name}]({where}) |"
        )
    return "\n".join(lines)


def _read_seconds() -> dict[str, str]:
    """Return the seconds of a swap at the paper's size, as `benchmarks/gpu.py` measured them; nothing before it did."""
    if not studies.results("gpu.csv").exists():
        return {}
    table = studies.read_results("gpu.csv", ("measure", "preset", "value"))
    swaps = table[table["measure"].str.endswith(", swap") & (table["preset"] == "paper")]
    return {row.measure.removesuffix(", swap"): f"{row.value:.2g} s" for row in swaps.itertuples()}
