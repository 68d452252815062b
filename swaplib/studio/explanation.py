"""What the studio says in words: what a slider changes, by the layer heat map (`latent.layers`), and what is shown."""

from __future__ import annotations

import math

import pandas as pd

from swaplib import synthetic
from swaplib.families import Family
from swaplib.judges import Judges
from swaplib.latent import layers
from swaplib.studio.controls import describe, words
from swaplib.studio.renderer import PATH, State

PAIRS = 6
"""Rendered pairs that are measured."""
SEED = 77
"""Of their series."""


def measure_shares(family: Family, judges: Judges | None = None) -> pd.DataFrame:
    """Measure what each group of parts changes alone, as a share of what all of them change together.

    judges: who reads the pictures; our own released ones by default. Groups down, readings across.
    """
    faces = synthetic.render_faces(2 * PAIRS, seed=SEED, size=min(max(family.config.size, 64), 512))
    faces = faces.resize(family.config.size)
    changes = layers.measure_influence(family, faces[:PAIRS], faces[PAIRS:], judges=judges)
    return layers.make_heat_table(changes)[0]


def explain(shares: pd.DataFrame, group: str) -> str:
    """Say what a group changes, the most first. Raises ValueError for a group that was not measured."""
    if group not in shares.index:
        raise ValueError(f"nothing was measured of {group!r}: there are {', '.join(shares.index)}")
    row = shares.loc[group].dropna().sort_values(ascending=False)
    told = " · ".join(f"{reading} {100 * share:.0f} %" for reading, share in row.items() if math.isfinite(share))
    return f"{words(group)} alone, in percent of what all parts change together: {told} ({PAIRS} rendered pairs)"


def describe_pictures(family: str, state: State) -> dict[str, str]:
    """Return what each picture of the studio shows, for those who don't see it."""
    moved = [f"{words(name)} {amount:.2f}" for name, amount in state.amounts.items() if amount]
    moved += [f"{words(name)} {strength:+.2f}" for name, strength in state.strengths.items() if strength]
    made = {
        "picture": f"{family} takes from the source: {', '.join(moved) or 'nothing'}",
        "true-swap": "true swap, what a perfect swap would show",
        "path": f"{PATH} pictures on the way from the target to the picture",
    }
    faces = {"source": f"source, {describe(state.source)}", "target": f"target, {describe(state.target)}"}
    return faces | {name: f"synthetic picture: {text}" for name, text in made.items()}
